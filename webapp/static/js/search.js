// The search box: asks while one types, shows passages with the words that were found marked.

import { call, workspace } from "./api.js";
import { count, sentence } from "./dom.js";
import { passage } from "./passage.js";

const PAUSE = 350;
const MOST = 10;
const WEAK = 0.6; // of the best one's score: what is below was found by its words or by its meaning alone
const ON_PHONES = 3;
const phone = window.matchMedia("(max-width: 40rem)");

const form = document.getElementById("search");
const query = document.getElementById("query");
const status = document.getElementById("search-status");
const list = document.getElementById("hits");
const more = document.getElementById("more-hits");
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
    const answer = await call(`${workspace.path}/search?limit=${MOST}&q=${encodeURIComponent(text)}`, { signal });
    const hits = answer.hits ?? answer.items ?? [];
    show(text, hits, hits.length ? found(hits.length) : nothing(text));
  } catch (error) {
    if (error.name !== "AbortError") show("", [], sentence(error.message));
  }
}

function show(text, hits, message) {
  answered = text;
  status.textContent = message;
  const [first, ...rest] = parted(hits);
  list.replaceChildren(...first.hits.map(passage));
  offer(rest);
  list.removeAttribute("aria-busy");
  hints.hidden = text !== "";
}

// The passages to show at once, then those behind a button each.
function parted(hits) {
  const strong = hits.filter(({ score }) => score >= hits[0].score * WEAK);
  const begin = phone.matches ? ON_PHONES : hits.length;
  return [
    { hits: strong.slice(0, begin) },
    { hits: strong.slice(begin), label: "More" },
    { hits: hits.slice(strong.length), label: "Show weaker matches" },
  ].filter((part, index) => index === 0 || part.hits.length > 0);
}

function offer([next, ...rest]) {
  more.hidden = !next;
  if (!next) return;
  more.textContent = next.label;
  more.onclick = () => {
    const items = next.hits.map(passage);
    list.append(...items);
    offer(rest);
    items[0].tabIndex = -1;
    items[0].focus();
  };
}

function found(number) {
  return number === MOST ? `The ${MOST} best passages` : `${count(number, "passage", "passages")} found`;
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
