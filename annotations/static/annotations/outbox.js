// Judgements on their way: kept in localStorage by person until the server has them, sent one after another.
// Holds the judgement only, never the item. What replies mean for the page is the listener's business.
import { csrfToken } from "../flywheel/csrf.js";

const PREFIX = "flywheel.outbox.";
const LONGEST_WAIT = 30_000;
const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// A value that is a list is sent once for each, as a form does.
const pairs = (body) => Object.entries(body).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));

export class Outbox extends EventTarget {
  #name;
  #spare = [];
  #running = false;
  #wake = () => {};

  constructor(user) {
    super();
    this.#name = PREFIX + user;
    this.extra = () => ({});
    this.state = "sent";
    addEventListener("online", () => this.#wake());
    addEventListener("focus", () => this.#wake());
    addEventListener("storage", (event) => { if (event.key === this.#name) this.#tell(this.state); });
  }

  get entries() {
    try {
      return JSON.parse(localStorage.getItem(this.#name) ?? "[]");
    } catch {
      return this.#spare;
    }
  }

  #keep(entries) {
    this.#spare = entries;
    try {
      if (entries.length) localStorage.setItem(this.#name, JSON.stringify(entries));
      else localStorage.removeItem(this.#name);
    } catch {
      // Storage is full or forbidden: the page itself keeps them.
      Object.defineProperty(this, "entries", { get: () => this.#spare, configurable: true });
    }
  }

  add(entry) {
    this.#keep([...this.entries, { ...entry, id: crypto.getRandomValues(new Uint32Array(2)).join("-") }]);
    this.#tell(this.state);
    this.send();
  }

  empty() {
    this.#keep([]);
    this.#tell("sent");
  }

  #tell(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, waiting: this.entries.length } }));
  }

  // Sends until nothing waits. One at a time in this page, and one page at a time where the browser can say so.
  async send() {
    if (this.#running) {
      this.#wake();
      return;
    }
    this.#running = true;
    let wait = 1000;
    while (this.entries.length) {
      const sent = await this.#inTurn(() => this.#sendFirst());
      if (sent) {
        wait = 1000;
        continue;
      }
      await Promise.race([pause(wait), new Promise((resolve) => { this.#wake = resolve; })]);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
    this.#running = false;
    this.#tell("sent");
  }

  #inTurn(work) {
    return navigator.locks ? navigator.locks.request(this.#name, work) : work();
  }

  // Whether the first entry left the box.
  async #sendFirst() {
    const [entry] = this.entries;
    if (!entry) return true;
    this.#tell(this.state === "sent" ? "sending" : this.state);
    let response;
    let html;
    try {
      response = await this.#post(entry);
      html = await response.text();
    } catch {
      this.#tell("offline");
      return false;
    }
    if (response.status >= 500 || response.status === 429) {
      this.#tell("offline");
      return false;
    }
    if (response.status === 401 || response.status === 403) {
      this.#tell(html.includes("data-somebody-else") ? "somebody-else" : "signed-out");
      return false;
    }
    this.#keep(this.entries.filter((other) => other.id !== entry.id));
    this.#tell("sending");
    this.dispatchEvent(new CustomEvent("reply", { detail: { entry, html, status: response.status, ok: response.ok } }));
    return true;
  }

  #post(entry) {
    return fetch(entry.url, {
      method: "POST",
      headers: { "HX-Request": "true", "X-CSRFToken": csrfToken() },
      body: new URLSearchParams(pairs({ ...entry.body, ...this.extra() })),
      redirect: "error",
      signal: AbortSignal.timeout(10_000),
    });
  }
}
