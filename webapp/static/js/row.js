// One document in the list: what it is, how far it is, what went wrong and what can be done about it.

import { button, bytes, count, element, sentence } from "./dom.js";

const STATES = {
  uploading: "Uploading",
  queued: "Waiting",
  processing: "Processing",
  cancelling: "Stopping",
  failed: "Failed",
  cancelled: "Cancelled",
};
// Sending the file is the first fifth of the bar and processing it the rest, so that it never runs twice.
const SENT = 20;
const BUSY = new Set(["uploading", "queued", "processing", "cancelling"]);

export class Row {
  constructor(name, handlers) {
    Object.assign(this, { id: null, jobId: null, name, size: null, pages: null, passages: null });
    Object.assign(this, { state: "queued", stage: null, percent: 0, error: null, permanent: false, watched: false, touched: 0 });
    this.handlers = handlers;
    this.#build();
  }

  get busy() {
    return BUSY.has(this.state);
  }

  get reached() {
    if (this.state === "completed") return 100;
    if (this.state === "uploading") return Math.round((this.percent * SENT) / 100);
    return Math.min(99, Math.round(SENT + (this.percent * (100 - SENT)) / 100));
  }

  update(changes) {
    Object.assign(this, changes);
    this.#paint();
  }

  #build() {
    this.kind = element("span", { class: "kind", "aria-hidden": "true" });
    this.title = element("p", { class: "name", dir: "auto" });
    this.facts = element("p", { class: "facts" });
    this.actions = element("div", { class: "actions" });
    this.fill = element("span");
    this.bar = element("div", { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.fill);
    this.message = element("p", { class: "error", dir: "auto", hidden: true });
    this.item = element("li", { class: "document" }, this.kind, element("div", {}, this.title, this.facts), this.actions);
    this.item.append(this.bar, this.message);
  }

  #paint() {
    this.item.dataset.state = this.state;
    this.item.dataset.job = this.jobId ?? "";
    this.kind.textContent = extension(this.name);
    this.title.textContent = this.name;
    this.title.title = this.name;
    this.facts.textContent = this.#summary();
    this.message.textContent = sentence(this.error);
    this.message.hidden = !this.error;
    this.#paintBar();
    this.#paintActions();
  }

  #summary() {
    if (this.state === "completed") {
      const pages = this.pages ? count(this.pages, "page", "pages") : null;
      const passages = this.passages ? count(this.passages, "passage", "passages") : null;
      return [this.size === null ? null : bytes(this.size), pages, passages].filter(Boolean).join(" · ") || "Searchable";
    }
    if (!this.busy) return STATES[this.state];
    const stage = this.state === "processing" && this.stage ? capitalised(this.stage) : STATES[this.state];
    return this.percent > 0 ? `${stage} · ${this.reached} %` : stage;
  }

  #paintBar() {
    const percent = this.reached;
    const before = Number(this.bar.getAttribute("aria-valuenow") ?? 0);
    this.bar.hidden = !(this.busy || (this.watched && this.state === "completed"));
    this.bar.classList.toggle("forward", percent >= before);
    this.bar.setAttribute("aria-label", this.name);
    this.bar.setAttribute("aria-valuenow", percent);
    this.bar.setAttribute("aria-valuetext", this.state === "completed" ? "Done, 100 %" : this.#summary());
    this.fill.style.transform = `scaleX(${percent / 100})`;
  }

  #paintActions() {
    const wanted = this.#possible();
    const now = wanted.map(([label]) => label).join();
    if (this.actions.dataset.shown === now) return;
    const focused = this.actions.contains(document.activeElement);
    this.actions.dataset.shown = now;
    this.actions.replaceChildren(...wanted.map(([label, handler]) => this.#button(label, handler)));
    if (focused) (this.actions.querySelector("button") ?? document.getElementById("main")).focus();
  }

  #possible() {
    const { cancel, retry, remove } = this.handlers;
    if (this.state === "queued" || this.state === "processing") return this.jobId ? [["Cancel", cancel]] : [];
    if (this.state === "failed" && this.permanent) return [["Remove", remove]];
    if (this.state === "failed" || this.state === "cancelled") return [["Retry", retry], ["Remove", remove]];
    return this.state === "completed" ? [["Remove", remove]] : [];
  }

  #button(label, handler) {
    const act = async () => {
      made.disabled = true;
      await handler(this);
      made.disabled = false;
    };
    const made =
      label === "Remove"
        ? button("✕", `Remove ${this.name}`, () => this.#confirm(made, act), "button quiet icon")
        : button(label, `${label} ${this.name}`, act);
    return made;
  }

  // Removing asks once more, in place.
  #confirm(made, act) {
    if (made.classList.contains("icon")) {
      made.classList.remove("icon");
      made.textContent = "Remove?";
      made.setAttribute("aria-label", `Remove? Press again to remove ${this.name}`);
      made.addEventListener("blur", () => this.#repaintActions(), { once: true });
    } else {
      act();
    }
  }

  #repaintActions() {
    this.actions.dataset.shown = "";
    this.#paintActions();
  }
}

function extension(name) {
  const found = /\.([A-Za-z0-9]{1,5})$/.exec(name);
  return found ? found[1].toUpperCase() : "FILE";
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replaceAll("_", " ");
}
