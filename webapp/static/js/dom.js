// Small helpers around the DOM: text always goes in as text, never as markup.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function button(label, title, onClick, className = "button quiet") {
  const made = element("button", { type: "button", class: className, "aria-label": title }, label);
  made.addEventListener("click", onClick);
  return made;
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

export function notice(text) {
  const place = document.getElementById("notice");
  place.textContent = sentence(text);
  place.hidden = text === "";
}

// What went wrong as a sentence, wherever it was worded.
export function sentence(text) {
  const trimmed = (text ?? "").trim();
  if (trimmed === "") return "";
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?…]$/.test(trimmed) ? "" : ".");
}

export function bytes(size) {
  const units = ["B", "KB", "MB", "GB"];
  let step = 0;
  let value = size;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  const whole = step === 0 || value >= 100 || Number.isInteger(value);
  return `${whole ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
