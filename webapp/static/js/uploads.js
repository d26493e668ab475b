// Sends chosen files in batches, a few at a time, and tells how far each one is.

import { refusal, Refused, unsafeHeaders, workspace } from "./api.js";
import { bytes } from "./dom.js";

const AT_ONCE = 3;
const BATCH_FILES = 8;
const BATCH_BYTES = 8_000_000;
const PAUSES = [1_000, 4_000];
const PASSING = new Set([0, 429, 502, 503, 504]);

const waiting = [];
let running = 0;

// `files` are {file, progress(fraction), done(answer), failed(error)}; each gets done or failed exactly once.
export function upload(files) {
  for (const entry of files) {
    if (entry.file.size > workspace.maxBytes) {
      entry.failed(new Refused(413, `The file is larger than ${bytes(workspace.maxBytes)}.`));
    } else {
      enqueue(entry);
    }
  }
  next();
}

function enqueue(entry) {
  const last = waiting.at(-1);
  if (last && last.entries.length < BATCH_FILES && last.size + entry.file.size <= BATCH_BYTES) {
    last.entries.push(entry);
    last.size += entry.file.size;
  } else {
    waiting.push({ entries: [entry], size: entry.file.size, key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });
  }
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    running += 1;
    send(waiting.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function send(batch) {
  try {
    const documents = await insist(batch);
    batch.entries.forEach((entry, index) => {
      const document = documents[index];
      if (document?.id) entry.done(document);
      else entry.failed(new Refused(422, document?.error || "The server did not accept this file."));
    });
  } catch (error) {
    batch.entries.forEach((entry) => entry.failed(error));
  }
}

// What failed in passing is sent again under the same key, so that it never makes a document twice.
async function insist(batch) {
  for (const pause of PAUSES) {
    try {
      return await post(batch);
    } catch (error) {
      if (!PASSING.has(error.status)) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  return post(batch);
}

function post(batch) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const { file } of batch.entries) form.append("files", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", `${workspace.path}/upload`);
    request.responseType = "json";
    for (const [name, value] of Object.entries(unsafeHeaders())) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", batch.key);
    request.upload.addEventListener("progress", ({ loaded, total }) => spread(batch, loaded, total));
    request.addEventListener("load", () => {
      const documents = request.response?.documents;
      if (Array.isArray(documents) && request.status < 500) resolve(documents);
      else reject(refusal(request.status, request.response));
    });
    request.addEventListener("error", () => reject(new Refused(0, "The upload was interrupted. Try this file again.")));
    request.send(form);
  });
}

// One request carries several files in order, so what was sent so far fills them one after the other.
function spread(batch, loaded, total) {
  let left = total > 0 ? (loaded / total) * batch.size : 0;
  for (const { file, progress } of batch.entries) {
    const share = file.size === 0 ? 1 : Math.max(0, Math.min(1, left / file.size));
    progress(share);
    left -= file.size;
  }
}
