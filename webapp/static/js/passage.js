// One passage that was found: the part of it with most of the words in it, and all of it on demand.

import { button, element } from "./dom.js";

const LONG = 720;
const SHOWN = 560;
const BEFORE = 90;
const WRAPPED_LINE = 60;

export function passage(hit) {
  const where = [hit.page ? `Page ${hit.page}` : null, hit.section].filter(Boolean).join(" · ");
  // Highlights count characters as people do (code points), JavaScript's strings count UTF-16 units.
  const characters = unwrapped(Array.from(hit.text));
  const marks = [...(hit.highlights ?? [])].sort((a, b) => a[0] - b[0]);
  const quote = element("blockquote", { dir: "auto" });
  const item = element(
    "li",
    { class: "hit" },
    element(
      "header",
      {},
      element("h2", { dir: "auto" }, hit.document_name),
      where ? element("span", { class: "where" }, where) : null,
      element("span", { class: "score", title: "How well it matches, against the other passages" }, score(hit.score)),
    ),
    quote,
  );
  const [from, to] = characters.length > LONG ? densest(characters, marks) : [0, characters.length];
  quote.append(...marked(characters, marks, from, to));
  if (to - from < characters.length) item.append(wholeButton(quote, characters, marks, hit.document_name));
  return item;
}

function wholeButton(quote, characters, marks, name) {
  const made = button("Whole passage", `Show the whole passage of ${name}`, () => {
    quote.replaceChildren(...marked(characters, marks, 0, characters.length));
    quote.tabIndex = -1;
    quote.focus();
    made.remove();
  });
  return made;
}

function score(value) {
  return `Score ${value >= 0.1 ? value.toFixed(2) : value.toFixed(4)}`;
}

// Line breaks that only a page's width made become spaces, and empty lines go; every character keeps its place.
function unwrapped(characters) {
  let begun = 0;
  return characters.map((character, index) => {
    if (character !== "\n") return character;
    const length = index - begun;
    begun = index + 1;
    if (length === 0) return "";
    return length >= WRAPPED_LINE && characters[index + 1] !== "\n" ? " " : "\n";
  });
}

// The stretch that begins a little before a mark and holds the most of them.
function densest(characters, marks) {
  let best = [0, -1];
  for (const [start] of marks) {
    const from = Math.max(0, start - BEFORE);
    const held = marks.filter(([begin, end]) => begin >= from && end <= from + SHOWN).length;
    if (held > best[1]) best = [from, held];
  }
  const from = wordAfter(characters, Math.min(best[0], characters.length - SHOWN));
  return [from, wordAfter(characters, Math.min(characters.length, from + SHOWN))];
}

function wordAfter(characters, at) {
  let index = at;
  while (index > 0 && index < characters.length && !/\s/.test(characters[index - 1])) index += 1;
  return index;
}

function marked(characters, marks, from, to) {
  const between = (start, end) => characters.slice(start, end).join("");
  const parts = [from > 0 ? "… " : ""];
  let at = from;
  for (const [start, end] of marks) {
    if (start < at || end > to) continue;
    parts.push(between(at, start), element("mark", {}, between(start, end)));
    at = end;
  }
  parts.push(between(at, to).trimEnd(), to < characters.length ? " …" : "");
  return parts;
}
