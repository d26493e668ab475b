// Makes one element like another with as few changes as possible, so that focus, scroll position, open details, open
// questions and what somebody types stay as they are.

const KEPT = { DETAILS: ["open"], INPUT: ["value", "checked"], OPTION: ["selected"] };

export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  copyAttributes(old, fresh);
  if (old.matches?.("[popover]:popover-open")) return;
  const known = new Map([...old.children].filter((child) => keyOf(child)).map((child) => [keyOf(child), child]));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const match = partner(at, wanted, known);
    if (match === null) {
      old.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (match !== at && isHeld(match)) at = clearTheWay(at, match);
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, wanted);
    else if (match.data !== wanted.data) match.data = wanted.data;
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// A node that is put elsewhere loses the focus that is in it, and its open question is closed.
function isHeld(node) {
  return node.contains(document.querySelector("[popover]:popover-open") ?? document.activeElement);
}

// Puts what stands before `held` at the end, where it is found again if it is still wanted.
function clearTheWay(at, held) {
  while (at !== held) {
    const next = at.nextSibling;
    held.parentNode.append(at);
    at = next;
  }
  return held;
}

// The node that becomes `wanted`: the one of the same key, once, or the one that stands there if it is of the same kind.
function partner(at, wanted, known) {
  const key = keyOf(wanted);
  if (key) {
    const match = known.get(key) ?? null;
    known.delete(key);
    return match;
  }
  return at !== null && at.nodeName === wanted.nodeName && !keyOf(at) ? at : null;
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
}

function copyAttributes(old, fresh) {
  const kept = KEPT[old.nodeName] ?? [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value);
  }
}
