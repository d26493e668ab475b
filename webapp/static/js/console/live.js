// Follows the fleet: the server says that something changed, and the parts marked `data-live` are fetched anew, at most
// once a second and only while the page is seen. The browser's EventSource connects again by itself.

import { readAgain } from "./charts.js";
import { morph } from "./morph.js";

const AT_MOST_EVERY = 1_000;
const WORDS = { live: "Live", waiting: "Reconnecting", off: "Paused" };

let source = null;
let last = 0;
let due = null;
let busy = false;
let pressed = false;
let presses = 0;
let waiting = [];

export function follow() {
  window.addEventListener("pointerdown", press, true);
  for (const kind of ["pointerup", "pointercancel", "contextmenu", "dragend"]) {
    window.addEventListener(kind, letGo, true);
  }
  window.addEventListener("blur", letGo); // the window's own: a press takes the focus from what had it
  window.addEventListener("pointermove", (event) => pressed && !event.buttons && letGo(), true);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => event.persisted && start());
  if (!document.hidden) start();
}

function start() {
  if (source) return;
  say("waiting");
  source = new EventSource("/admin/queues/api/events");
  source.addEventListener("open", () => say("live"));
  source.addEventListener("error", failed);
  source.addEventListener("changed", soon);
}

function stop() {
  source?.close();
  source = null;
  clearTimeout(due);
  due = null;
  say("off");
}

// A refusal (signed out, too many) closes the source for good; anything else it mends itself. The page is asked for then,
// since that leads whose account is gone to the login.
function failed() {
  say("waiting");
  if (source?.readyState !== EventSource.CLOSED) return;
  source = null;
  soon();
  setTimeout(() => !document.hidden && start(), 5_000);
}

function soon() {
  if (due !== null) return;
  due = setTimeout(refresh, Math.max(0, last + AT_MOST_EVERY - performance.now()));
}

async function refresh() {
  due = null;
  if (busy) return soon();
  busy = true;
  last = performance.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) location.reload();
    else if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      await untilLetGo();
      show(page);
    }
  } catch {
    say("waiting"); // the event source says when the server is back
  } finally {
    busy = false;
  }
}

// What somebody is pressing stays where it is until the click: it would be lost, or meant for something else.
function untilLetGo() {
  return pressed ? new Promise((go) => waiting.push(go)) : null;
}

function press() {
  pressed = true;
  presses += 1;
}

function letGo() {
  const which = presses;
  setTimeout(() => {
    if (which !== presses) return; // somebody has pressed anew meanwhile
    pressed = false;
    for (const go of waiting.splice(0)) go();
  }); // the click comes first
}

function show(page) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (fresh) morph(old, fresh);
  }
  readAgain();
}

function say(state) {
  const place = document.getElementById("connection");
  if (!place) return;
  place.hidden = false;
  place.dataset.state = state;
  place.textContent = WORDS[state];
}
