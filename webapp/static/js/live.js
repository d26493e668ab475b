// The workspace's events over one WebSocket: resumes after the last event seen, reconnects with growing pauses.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 20_000;
const QUIET = 45_000;

export class Live extends EventTarget {
  #topic;
  #socket = null;
  #last = null;
  #failures = 0;
  #timer = null;
  #quiet = null;

  constructor(topic) {
    super();
    this.#topic = topic;
    window.addEventListener("online", () => this.#retryNow());
    window.addEventListener("pagehide", () => this.#socket?.close());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#retryNow());
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#timer);
    const address = new URL("/api/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#subscribe(socket));
    socket.addEventListener("message", (message) => this.#receive(JSON.parse(message.data)));
    socket.addEventListener("close", () => socket === this.#socket && this.#reconnect());
  }

  #subscribe(socket) {
    const request = { action: "subscribe", topic: this.#topic };
    if (this.#last !== null) request.after = this.#last;
    socket.send(JSON.stringify(request));
    this.#listen(socket);
  }

  #receive(message) {
    this.#listen(this.#socket);
    if (message.type === "subscribed") {
      this.#failures = 0;
      this.#tell("live", message);
    } else if (message.type === "error") {
      this.#socket.close();
    } else if (message.id) {
      this.#last = message.id;
      this.#tell("event", message);
    }
  }

  // A silent socket may be a dead one: ask, and give up on it when nothing comes back.
  #listen(socket) {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(JSON.stringify({ action: "ping" }));
      this.#quiet = setTimeout(() => socket.close(), 10_000);
    }, QUIET);
  }

  #reconnect() {
    clearTimeout(this.#quiet);
    this.#tell("waiting", null);
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.connect(), pause);
  }

  #retryNow() {
    if (this.#socket?.readyState === WebSocket.CLOSED) this.connect();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
