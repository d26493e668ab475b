// "3 min ago" goes on while the page is open; worded as webapp/console/filters.py does.

const EVERY = 5_000;
const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

export function keepTimes() {
  setInterval(() => document.querySelectorAll("time[data-relative]").forEach(tell), EVERY);
}

function tell(time) {
  const text = ago(Date.parse(time.dateTime), Date.now());
  if (time.textContent !== text) time.textContent = text;
}

export function ago(moment, now) {
  const seconds = Math.round((now - moment) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [length, unit] = UNITS.find(([length]) => size >= length) ?? [1, "s"];
  const text = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}
