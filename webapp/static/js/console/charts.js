// Who points at a chart reads the values there; the words are the server's, one for each point.

export function readCharts() {
  document.addEventListener("pointermove", (event) => {
    const drawing = event.target.closest?.(".chart svg") ?? null;
    if (shown !== null && drawing?.closest(".chart") !== shown) leave(shown);
    if (drawing !== null) read(drawing, event.clientX);
  });
}

// After a refresh, which brings back the words of now: those under the pointer, which rests, are read anew.
export function readAgain() {
  if (shown === null) return;
  const drawing = shown.querySelector("svg");
  if (drawing?.isConnected) read(drawing, lastX);
  else shown = null;
}

let shown = null;
let lastX = 0;

function read(drawing, x) {
  lastX = x;
  const chart = drawing.closest(".chart");
  const moments = chart.dataset.at.split("|");
  const box = drawing.getBoundingClientRect();
  const place = Math.round(((x - box.left) / box.width) * (moments.length - 1));
  const at = Math.min(moments.length - 1, Math.max(0, place));
  shown = chart;
  chart.querySelector(".at").textContent = moments[at];
  chart.querySelector(".pointer").setAttribute("d", `M${at} 0V100`);
  for (const line of chart.querySelectorAll(".legend [data-said]")) {
    const value = line.querySelector("b");
    value.dataset.now ??= value.textContent;
    value.textContent = line.dataset.said.split("|")[at];
  }
}

function leave(chart) {
  shown = null;
  chart.querySelector(".at").textContent = "";
  chart.querySelector(".pointer").setAttribute("d", "");
  for (const value of chart.querySelectorAll(".legend b[data-now]")) {
    value.textContent = value.dataset.now;
    delete value.dataset.now;
  }
}
