// The search box: asks while one types, shows passages with the words that were found marked.

import { call, workspace } from "./api.js";
import { count } from "./dom.js";
import { passage } from "./passage.js";

const PAUSE = 350;

const form = document.getElementById("search");
const query = document.getElementById("query");
const status = document.getElementById("search-status");
const list = document.getElementById("hits");
const hints = document.getElementById("hints");

let asked = null;
let answered = "";
let timer = null;

export function startSearch() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search(query.value.trim(), true);
  });
  query.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => search(query.value.trim()), PAUSE);
  });
  query.value = new URLSearchParams(location.search).get("q") ?? "";
  if (query.value) search(query.value.trim());
}

async function search(text, again = false) {
  clearTimeout(timer);
  if (text === answered && !again) return;
  asked?.abort();
  remember(text);
  if (text === "") return show("", [], "");
  asked = new AbortController();
  const { signal } = asked;
  list.setAttribute("aria-busy", "true");
  try {
    const answer = await call(`${workspace.path}/search?q=${encodeURIComponent(text)}`, { signal });
    const hits = answer.hits ?? answer.items ?? [];
    show(text, hits, hits.length ? `${count(hits.length, "passage", "passages")} found` : nothing(text));
  } catch (error) {
    if (error.name !== "AbortError") show("", [], error.message);
  }
}

function show(text, hits, message) {
  answered = text;
  status.textContent = message;
  list.replaceChildren(...hits.map(passage));
  list.removeAttribute("aria-busy");
  hints.hidden = text !== "";
}

function nothing(text) {
  return `Nothing found for “${text}”. Try other words, or add a document.`;
}

function remember(text) {
  const address = new URL(location.href);
  if (text) address.searchParams.set("q", text);
  else address.searchParams.delete("q");
  history.replaceState(null, "", address);
}
