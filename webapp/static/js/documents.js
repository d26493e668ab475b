// The list of documents: kept true by the workspace's events, and by fetching where events can't be had.

import { call, workspace } from "./api.js";
import { announce, notice, sentence } from "./dom.js";
import { Row } from "./row.js";
import { upload } from "./uploads.js";

const PAGE = 50;
const WITHOUT_EVENTS = 2_000;
const WITH_EVENTS = 20_000;
const SOON = 250;
const KEPT_EVENTS = 500;
// Another try mends neither what is wrong with the file nor what the server refuses.
const PERMANENT = new Set(["Permanent", "Unreadable"]);
const GONE = Symbol("the job is not kept any more");
const REFUSED = new Set([413, 422]);

const list = document.getElementById("documents");
const more = document.getElementById("more");
const total = document.getElementById("count");

const rows = new Set();
const byDocument = new Map();
const byJob = new Map();
const early = new Map();
const removed = new Set();

let live = null;
let cursor = null;
let fetching = false;
let again = false;
let timer = null;

export function startDocuments(source) {
  live = source;
  live.addEventListener("live", () => refresh());
  live.addEventListener("waiting", () => soon());
  live.addEventListener("event", ({ detail }) => heard(detail));
  more.addEventListener("click", () => showMore());
  refresh();
}

export function addFiles(files) {
  notice("");
  const entries = [...files].map((file) => uploading(file));
  list.prepend(...entries.map(({ row }) => row.item).reverse()); // the newest is first, as the server lists them
  counted();
  upload(entries);
}

function uploading(file) {
  const row = added(file.name);
  row.file = file;
  row.update({ state: "uploading", percent: 0, size: file.size, error: null, watched: true });
  return {
    file,
    row,
    progress: (fraction) => row.state === "uploading" && row.update({ percent: fraction * 100 }),
    done: (document) => accepted(row, document),
    failed: (error) => {
      row.update({ state: "failed", error: error.message, permanent: REFUSED.has(error.status) });
      announce(`${file.name}: ${sentence(error.message)}`);
    },
  };
}

function added(name) {
  const row = new Row(name, { cancel, retry, remove });
  rows.add(row);
  return row;
}

function accepted(row, { id, job_id: jobId }) {
  const shown = byDocument.get(id);
  if (shown && shown !== row) forget(shown);
  byDocument.set(id, row);
  byJob.set(jobId, row);
  row.update({ id, jobId, state: "queued", percent: 0, touched: performance.now() });
  const heardBefore = early.get(jobId) ?? [];
  early.delete(jobId);
  heardBefore.forEach((event) => apply(row, event));
  soon();
}

function heard(event) {
  if (event.event === "stream:gap") return refresh();
  const jobId = event.data?.job_id;
  const row = byJob.get(jobId);
  if (row) return apply(row, event);
  if (early.size > KEPT_EVENTS) early.delete(early.keys().next().value);
  early.set(jobId, [...(early.get(jobId) ?? []), event]);
  if (/:(queued|completed|failed|cancelled)$/.test(event.event)) soon(SOON);
  return undefined;
}

function apply(row, { event, data }) {
  const touched = performance.now();
  if (event === "job:queued") row.update({ touched, state: "queued", percent: 0, error: null });
  if (event === "job:started") row.update({ touched, state: "processing", stage: null, percent: 0, error: null });
  if (event === "job:progress" && row.busy) {
    row.update({ touched, state: "processing", stage: data.stage, percent: data.percent });
  }
  if (event === "job:retrying") row.update({ touched, state: "queued", percent: 0, error: retrying(data) });
  if (event === "job:cancelled") row.update({ touched, state: "cancelled", error: null });
  if (event === "job:failed") row.update({ touched, ...failure(data.error) });
  if (event === "job:completed") row.update({ touched, state: "completed", percent: 100, error: null });
  if (event === "job:failed") announce(`${row.name} failed: ${sentence(row.error)}`);
  if (event === "job:completed") announce(`${row.name} is searchable`);
  if (!row.busy) soon(SOON);
}

function failure(error) {
  return { state: "failed", error: error?.message ?? "It failed", permanent: PERMANENT.has(error?.type) };
}

function retrying(data) {
  return `${sentence(data.error?.message ?? "It failed")} Trying again.`;
}

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  again = false;
  const began = performance.now();
  try {
    const page = await call(`${workspace.path}/documents?limit=${PAGE}`);
    merge(page.items, began);
    if (!page.next_cursor) dropMissing(page.items, began);
    if (cursor === null) cursor = page.next_cursor ?? null;
    notice("");
  } catch (error) {
    notice(error.message);
  }
  fetching = false;
  counted();
  if (again) refresh();
  else soon();
}

async function showMore() {
  const began = performance.now();
  const page = await call(`${workspace.path}/documents?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`).catch(failed);
  if (!page) return;
  merge(page.items, began);
  cursor = page.next_cursor ?? "";
  counted();
}

function merge(answered, began) {
  const documents = answered.filter(({ id }) => !removed.has(id));
  const fresh = documents.filter((document) => !byDocument.has(document.id)).map((document) => listed(document));
  const newest = fresh.filter((row) => row.busy).map((row) => row.item);
  list.prepend(...newest);
  list.append(...fresh.filter((row) => !row.busy).map((row) => row.item));
  for (const document of documents) shown(byDocument.get(document.id), document, began);
  arrange(answered);
  ask(fresh.filter((row) => row.busy || row.state === "failed"));
}

// In the server's order, below what is on its way there; what stands right is not touched, for it may have the focus.
function arrange(answered) {
  const items = answered.map(({ id }) => byDocument.get(id)?.item).filter(Boolean);
  items.slice(1).forEach((item, index) => {
    if (!follows(item, items[index])) items[index].after(item);
  });
}

function follows(item, other) {
  return Boolean(other.compareDocumentPosition(item) & Node.DOCUMENT_POSITION_FOLLOWING);
}

// What somebody else removed; asked of a complete list only.
function dropMissing(documents, began) {
  const present = new Set(documents.map(({ id }) => id));
  for (const row of [...rows]) if (row.id && !present.has(row.id) && row.touched < began) forget(row);
}

function listed(document) {
  const row = added(document.name);
  byDocument.set(document.id, row);
  row.update({ id: document.id, state: document.status });
  return row;
}

// An answer that was on its way while an event arrived may be the older of the two, and a document that is run again
// reads as failed until its job begins: then the job is asked.
function shown(row, document, began) {
  const { name, size, pages, passages, job_id: jobId } = document;
  if (jobId) byJob.set(jobId, row);
  row.update({ name, size, pages, passages, jobId: jobId ?? row.jobId });
  if (row.touched > began) return;
  if (document.status === "failed" && row.state !== "failed") {
    ask([row]);
  } else if (row.state !== "cancelled" || document.status === "completed") {
    row.update({ state: document.status, percent: document.status === row.state ? row.percent : 0, error: document.error });
  }
}

async function ask(unsure) {
  for (const row of unsure.slice(0, PAGE).filter(({ jobId }) => jobId)) {
    const began = performance.now();
    const job = await call(`/api/jobs/${row.jobId}`).catch(({ status }) => (status === 404 ? GONE : null));
    if (job === GONE) row.update({ permanent: row.state === "failed" });
    else if (job && row.touched < began) row.update({ error: null, ...stateOf(job) });
  }
}

function stateOf({ status, progress, error }) {
  if (status === "started") return { state: "processing", stage: progress?.stage, percent: progress?.percent ?? 0 };
  if (status === "completed" || status === "cancelled") return { state: status };
  if (status === "failed" || status === "quarantined") return failure(error);
  return { state: "queued", percent: 0 };
}

function soon(pause = live?.open ? WITH_EVENTS : WITHOUT_EVENTS) {
  const busy = [...rows].some((row) => row.busy && row.state !== "uploading");
  clearTimeout(timer);
  if (busy || pause === SOON || !live?.open) timer = setTimeout(() => refresh(), pause);
}

function counted() {
  total.textContent = rows.size === 0 ? "None yet" : `${rows.size}${cursor ? "+" : ""}`;
  more.hidden = !cursor;
}

async function cancel(row) {
  const before = row.state;
  row.update({ state: "cancelling" });
  try {
    const job = await call(`/api/jobs/${row.jobId}`, { method: "DELETE" });
    if (job.status === "cancelled") row.update({ state: "cancelled", touched: performance.now() });
  } catch (error) {
    row.update({ state: before });
    failed(error);
  }
}

async function retry(row) {
  if (!row.jobId) {
    forget(row);
    addFiles([row.file]);
    return;
  }
  row.update({ state: "queued", percent: 0, error: null, watched: true, touched: performance.now() });
  try {
    await call(`/api/jobs/${row.jobId}/retry`, { method: "POST" });
    soon();
  } catch (error) {
    failed(error);
    ask([row]);
  }
}

async function remove(row) {
  try {
    if (row.id) await call(`${workspace.path}/documents/${row.id}`, { method: "DELETE" });
    removed.add(row.id);
    forget(row);
    announce(`${row.name} was removed`);
    document.getElementById("main").focus();
  } catch (error) {
    failed(error);
  }
}

function forget(row) {
  rows.delete(row);
  byDocument.delete(row.id);
  byJob.delete(row.jobId);
  row.item.remove();
  counted();
}

function failed(error) {
  notice(error.message);
}
