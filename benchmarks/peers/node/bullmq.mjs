// BullMQ on Node, client and worker, with the command line of driver.py beside it.
import { openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import net from 'node:net';
import process from 'node:process';
import { Job, Queue, Worker } from 'bullmq';

const CHUNK = 1000;
const WARM_UP = 10;
const address = new URL(process.env.BENCH_REDIS);
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));
const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; };

let marks;
function mark(number) {
  marks ??= openSync(process.env.BENCH_MARKS, 'a');
  writeSync(marks, `${number} ${process.hrtime.bigint()}\n`);
}

const bodies = {
  touch: async () => {},
  rest: async () => pause(100),
  wait: () => new Promise((resolve, reject) => {
    const socket = net.connect(Number(process.env.BENCH_SOCKET), '127.0.0.1');
    socket.on('error', reject).once('data', () => { socket.destroy(); resolve(); });
  }),
};

function work() {
  const concurrency = Number(process.env.BENCH_CONCURRENCY ?? 10);
  const worker = new Worker('bench', async (job) => {
    mark(job.data.number);
    await bodies[job.name]();
    return job.data.number;
  }, { connection, concurrency });
  process.once('SIGTERM', async () => { await worker.close(); process.exit(0); });
}

async function enqueue(queue, kind, count, how) {
  await queue.waitUntilReady();
  const ids = [];
  const used = cpu(), begun = seconds();
  if (how === 'one') {
    for (let number = 0; number < count; number++) ids.push((await queue.add(kind, { number })).id);
  } else {
    for (let start = 0; start < count; start += CHUNK) {
      const numbers = Array.from({ length: Math.min(CHUNK, count - start) }, (_, index) => start + index);
      const added = await queue.addBulk(numbers.map((number) => ({ name: kind, data: { number } })));
      ids.push(...added.map((job) => job.id));
    }
  }
  const answer = { seconds: seconds() - begun, cpu: cpu() - used };
  writeFileSync(process.env.BENCH_HANDLES, JSON.stringify(ids));
  return answer;
}

async function trickle(queue, count, every) {
  const ids = [(await queue.add('touch', { number: 0 })).id];
  while (statSync(process.env.BENCH_MARKS).size === 0) await pause(10);
  const sent = [], begun = seconds() + 0.5;
  for (let number = 1; number <= WARM_UP + count; number++) {
    await pause(1000 * (begun + number * every - seconds()));
    sent.push(Number(process.hrtime.bigint()));
    ids.push((await queue.add('touch', { number })).id);
  }
  writeFileSync(process.env.BENCH_HANDLES, JSON.stringify(ids));
  return { sent: sent.slice(WARM_UP) };
}

async function results(queue) {
  const ids = JSON.parse(readFileSync(process.env.BENCH_HANDLES, 'utf8'));
  let right = 0;
  for (let start = 0; start < ids.length; start += CHUNK) {
    const jobs = await Promise.all(ids.slice(start, start + CHUNK).map((id) => Job.fromId(queue, id)));
    jobs.forEach((job, index) => { right += Number(job?.returnvalue === start + index); });
  }
  return { right };
}

const [command, ...given] = process.argv.slice(2);
if (command === 'worker') {
  work();
} else {
  const queue = new Queue('bench', { connection });
  const commands = {
    enqueue: (kind, count, how) => enqueue(queue, kind, Number(count), how),
    trickle: (count, every) => trickle(queue, Number(count), Number(every)),
    results: () => results(queue),
  };
  console.log(JSON.stringify(await commands[command](...given)));
  await queue.close();
}
