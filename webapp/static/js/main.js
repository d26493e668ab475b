// Puts the page together.

import { workspace } from "./api.js";
import { addFiles, startDocuments } from "./documents.js";
import { Live } from "./live.js";
import { startSearch } from "./search.js";

const connection = document.getElementById("connection");
const picker = document.getElementById("files");
const live = new Live(`workspace:${workspace.id}`);

live.addEventListener("live", () => say("live", "Live"));
live.addEventListener("waiting", () => say("waiting", "Reconnecting"));
startDocuments(live);
startSearch();
live.connect();

picker.addEventListener("change", () => {
  addFiles(picker.files);
  picker.value = "";
});

let depth = 0;
document.addEventListener("dragenter", (event) => dragged(event, 1));
document.addEventListener("dragleave", (event) => dragged(event, -1));
document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  dragged(event, -depth);
  addFiles(event.dataTransfer.files);
});

function dragged(event, change) {
  if (!carriesFiles(event)) return;
  depth += change;
  document.body.classList.toggle("dropping", depth > 0);
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

function say(state, text) {
  connection.dataset.state = state;
  connection.textContent = text;
}
