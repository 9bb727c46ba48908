// A stretch of the histogram: dragged with a mouse, a pen or a finger, or chosen by keys. A finger that moves up or down
// scrolls the page (touch-action in exchange.css), and the browser then cancels what it had begun here. Its columns are links and work without this;
// here they become one tab stop, whose arrows move and, with Shift, stretch. Times are the columns', in UTC.
import { say } from "../flywheel/live.js";

class Brush {
  constructor(figure) {
    this.figure = figure;
    this.columns = [...figure.querySelectorAll("svg a")];
    this.anchor = -1;
    this.at = -1;
    this.note = figure.querySelector("[data-brushed]");
    this.usual = this.note.textContent;
    this.columns.forEach((column, index) => { column.tabIndex = index ? -1 : 0; });
    this.svg = figure.querySelector("svg");
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.svg.addEventListener("pointerdown", (event) => this.onDown(event));
    this.svg.addEventListener("pointermove", (event) => this.onMove(event));
    this.svg.addEventListener("pointerup", (event) => this.onUp(event));
    this.svg.addEventListener("pointercancel", () => this.clear());
    this.svg.addEventListener("click", (event) => this.onClick(event), true);
    this.svg.addEventListener("dragstart", (event) => event.preventDefault());
    // Back may bring the page as it was left.
    addEventListener("pageshow", () => this.clear());
  }

  get range() {
    return [Math.min(this.anchor, this.at), Math.max(this.anchor, this.at)];
  }

  paint() {
    const [first, last] = this.range;
    this.columns.forEach((column, index) => column.classList.toggle("brushed", this.anchor >= 0 && index >= first && index <= last));
    this.note.textContent = this.anchor < 0 || first === last ? this.usual : this.said();
  }

  clear() {
    this.anchor = -1;
    this.dragging = false;
    this.paint();
  }

  said() {
    const [first, last] = this.range;
    const count = this.columns.slice(first, last + 1).reduce((sum, column) => sum + Number(column.dataset.count), 0);
    return `${count.toLocaleString("en")} exchanges in ${last - first + 1} columns`;
  }

  go() {
    const [first, last] = this.range;
    const times = `since:${this.columns[first].dataset.start} until:${this.columns[last].dataset.end}`;
    const address = new URL(this.figure.dataset.url, location.href);
    address.searchParams.set("q", `${this.figure.dataset.rest} ${times}`.trim());
    location.assign(address);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.columns.indexOf(document.activeElement);
    const last = this.columns.length - 1;
    const moves = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last };
    if (event.key in moves) {
      event.preventDefault();
      const next = Math.min(last, Math.max(0, moves[event.key]));
      if (event.shiftKey && this.anchor < 0) this.anchor = here;
      if (!event.shiftKey) this.anchor = -1;
      this.focus(next);
    } else if (event.key === "Enter" && this.anchor >= 0) {
      event.preventDefault();
      this.go();
    } else if (event.key === "Escape" && this.anchor >= 0) {
      event.stopPropagation();
      this.clear();
    }
  }

  focus(index) {
    this.columns.forEach((column, at) => { column.tabIndex = at === index ? 0 : -1; });
    this.at = index;
    this.columns[index].focus();
    this.paint();
    if (this.anchor >= 0) say(this.said());
  }

  column(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.min(this.columns.length - 1, Math.max(0, Math.floor(share * this.columns.length)));
  }

  onDown(event) {
    this.dragged = false;
    if (!event.isPrimary) return this.clear();
    if (event.button) return;
    this.anchor = this.column(event);
    this.at = this.anchor;
    this.dragging = true;
  }

  onMove(event) {
    if (!this.dragging || !event.isPrimary) return;
    const at = this.column(event);
    if (at === this.at) return;
    // Only what is dragged needs the pointer for itself; a click stays the link's.
    this.svg.setPointerCapture(event.pointerId);
    this.at = at;
    this.paint();
  }

  onUp() {
    if (!this.dragging) return;
    this.dragging = false;
    this.dragged = this.at !== this.anchor;
    if (this.dragged) this.go();
    else this.clear();
  }

  onClick(event) {
    if (this.dragged) event.preventDefault();
    this.dragged = false;
  }
}

for (const figure of document.querySelectorAll("[data-brush]")) new Brush(figure);
