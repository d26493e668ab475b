#!lua flags=allow-oom
-- Give back what dead workers held: runs whose lease is past, and ids left in the inboxes of workers that are gone.
-- After an outage of this script (its own last run by Redis TIME is over 2 s ago) every lease is past although its worker
-- may live, so then nothing is taken and every lease gets a grace instead.
-- Where the clock was put back, by a fail-over to a host that is behind, say, leases reach too far ahead, and none may
-- outlast a whole one from now on.
-- ARGV: prefix, now (RFC 3339), grace (ms), lease (ms). Returns {reaped runs {id, execution, outcome}, workers that were found dead}.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_lost
local P, now, grace, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local seconds, ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local OUTAGE_MS, POISON_DEATHS, AT_ONCE, FORGET_MS = 2000, 5, 100, 60000
local DIED = 'its worker died five times, the last time while it ran nothing else'
local leases, batches, workers = P .. ':fleet:leases', P .. ':fleet:batches', P .. ':fleet:workers'

local last = tonumber(redis.call('GET', P .. ':fleet:reaper') or '') or 0
redis.call('SET', P .. ':fleet:reaper', ms)
if ms - last > OUTAGE_MS then
  for _, set in ipairs({leases, batches, workers}) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', ms + grace)) do
      if set ~= workers or redis.call('SISMEMBER', P .. ':fleet:dead', member) == 0 then
        redis.call('ZADD', set, 'XX', ms + grace, member)
      end
    end
  end
  return {{}, {}}
end
for _, set in ipairs(ms < last and {leases, batches, workers} or {}) do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, ms + lease_ms, '+inf')) do
    redis.call('ZADD', set, 'XX', ms + lease_ms, member)
  end
end

-- `queue` is known of a batch's run, of which there are no records to end.
local function reap(id, execution, queue)
  local key = P .. ':job:' .. id
  local head = redis.pcall('HMGET', key, 'status', 'execution', 'topics', 'type', 'attempts', 'origin', 'worker_name', 'alone', 'started_at')
  local worker = not head.err and head[7] or ''
  queue = queue or end_abandoned(P, worker, id, execution) or (not head.err and head[6]) or 'default'
  if not head.err and not head[1] and head[2] == execution then
    error('somebody removed its status', 0)
  end
  if head.err or head[1] ~= 'started' or head[2] ~= execution then
    return 'dropped'
  end
  -- A worker that dies takes all its runs with it: any may be to blame, so after two such deaths the job
  -- runs alone, and as workers are killed for many reasons, only the fifth is held against it.
  local about = {type = head[4] or '', attempt = tonumber(head[5] or '1'), reason = 'its worker was lost'}
  local final = add(key, 'worker_deaths', 1) >= POISON_DEATHS and head[8] == '1'
  record_lost(P, id, execution, worker or '', head[5] or '1', head[9], seconds .. '', final)
  if final then
    quarantine(P, id, queue, DIED, seconds)
    about.error, about.final = {type = 'WorkerLost', message = DIED}, true
    job_event(P, id, head[3], 'job:failed', about)
    return 'quarantined'
  end
  give_back(P, id, queue, now)
  if redis.call('HGET', key, 'ledger') then
    tell_ledger(id, head[4], 'queued', tonumber(head[5] or '1') - 1)
  end
  job_event(P, id, head[3], 'job:queued', about)
  return 'requeued'
end

local reaped = {}
local function reap_or_set_aside(id, execution, queue)
  local ok, word = pcall(reap, id, execution, queue)
  if not ok then
    redis.call('ZREM', leases, id .. ':' .. execution)
    pcall(quarantine, P, id, 'default', 'it could not be given back: ' .. tostring(word), seconds)
  end
  leave_gates(P, id, id .. ':' .. execution, ms)
  reaped[#reaped + 1] = {id, execution, ok and word or 'quarantined'}
end

-- All that a batch still held; the last one first, so that they stand in their queues as they did.
local function reap_batch(request)
  local held, runs = unpack(redis.call('HMGET', batch_key(P, request), 'held', 'runs'))
  redis.call('DEL', batch_key(P, request))
  redis.call('ZREM', batches, request)
  local _, known = pcall(cjson.decode, runs or '[]')
  for n = type(known) == 'table' and #known or 0, 2, -1 do
    local _, place = place_of(known[n][2])
    if (held or ''):sub(place, place):find('[ut]') then
      reap_or_set_aside(known[n][1], known[n][2], known[n][3])
    end
  end
end

return tell_together(function()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', ms, 'LIMIT', 0, AT_ONCE)) do
    reap_or_set_aside(member:match('^(.*):([^:]*)$'))
  end
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', batches, '-inf', ms, 'LIMIT', 0, AT_ONCE)) do
    reap_batch(request)
  end
  open_freed(P, ms)

  -- A worker that hangs or is cut off may still have a BLMOVE waiting here, which takes one more id into its inbox: so its
  -- inboxes are looked at until the longest such wait is over.
  local found = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', ms, 'LIMIT', 0, AT_ONCE)) do
    local left = 0
    for _, queue in ipairs(cjson.decode(redis.call('HGET', P .. ':fleet:worker-queues', worker) or '[]')) do
      local inbox, list = P .. ':fleet:inbox:' .. worker .. ':' .. queue, P .. ':queue:' .. queue
      while type(redis.pcall('LMOVE', inbox, list, 'RIGHT', 'LEFT')) == 'string' do end
      left = left + redis.call('LLEN', inbox)
    end
    if redis.call('SADD', P .. ':fleet:dead', worker) == 1 then
      found[#found + 1] = worker
    end
    if left == 0 and tonumber(redis.call('ZSCORE', workers, worker)) < ms - FORGET_MS then
      redis.call('ZREM', workers, worker)
      redis.call('SREM', P .. ':fleet:dead', worker)
      redis.call('HDEL', P .. ':fleet:worker-queues', worker)
    end
  end
  send_to_ledger(P)
  return {reaped, found}
end)
