// Moves about a heat map: one shared popover with a piece's alternatives, by mouse, touch and keys.
// Its data lie in one JSON block; its classes were set by the server for probability, and are set here for others.
import { say } from "../flywheel/live.js";

const NBSP = "\u00a0";
const CLASSES = ["h0", "h1", "h2", "h3", "h4"];
const LEGENDS = {
  p: ["≥ 90 %", "70–90", "50–70", "20–50", "< 20"],
  e: ["< 0.25 bits", "0.25–0.5", "0.5–1", "1–2", "≥ 2"],
  m: ["≥ 0.8 ahead", "0.5–0.8", "0.3–0.5", "0.1–0.3", "< 0.1"],
};
const ORDINALS = { 2: "2nd", 3: "3rd" };

export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return `<0.1${NBSP}%`;
  if (value > 99.9 && value < 100) return `>99.9${NBSP}%`;
  const text = value < 10 || (value > 99 && value < 100) ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0);
  return `${text}${NBSP}%`;
}

function heatOf(piece, metric, limits) {
  if (metric === "e") return CLASSES[limits.entropy.filter((limit) => piece.e >= limit).length];
  const steps = metric === "m" ? limits.margin : limits.probability;
  return CLASSES[steps.filter((limit) => piece[metric] < limit).length];
}

function standing(piece) {
  if (piece.ids?.length > 1 || (piece.rank === null && !piece.rest && piece.top.length > 1)) return `${piece.top.length} tokens`;
  if (piece.rank === 1) return "1st choice";
  if (piece.top.length < 2) return "no alternatives were kept";
  if (piece.rank === null) return `not among the ${Math.max(piece.top.length - 1, 1)} likeliest`;
  return `${ORDINALS[piece.rank] ?? `${piece.rank}th`} choice`;
}

const headline = (piece) => `“${piece.t}” ${percent(piece.p)}, ${standing(piece)}`;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function row(text, share, chosen, plain) {
  const line = element("li", chosen ? "chosen" : "");
  const track = element("span", "track");
  const fill = element("span", "fill");
  fill.style.width = `${Math.min(100, share * 100)}%`;
  track.append(fill);
  line.append(element(plain ? "span" : "code", "", text), track, element("span", "num", percent(share)));
  return line;
}

function facts(piece, data) {
  const list = element("dl");
  const add = (name, value) => list.append(element("dt", "", name), element("dd", "", value));
  add(piece.ids.length > 1 ? "ids" : "id", piece.ids.join(", "));
  add("logprob", piece.lp.map((value) => value.toFixed(3)).join(", "));
  add("entropy", `at least ${piece.e.toFixed(2)} bits`);
  add("place", String(piece.i + 1));
  if (data.source) add("source", data.source);
  if (data.mode) add("logprobs", data.mode.startsWith("raw") ? "raw" : "after temperature");
  return list;
}

class HeatMap {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(document.getElementById(root.dataset.heatmap).textContent);
    this.text = root.querySelector("[data-heat-text]");
    this.spans = [...this.text.querySelectorAll(".p")];
    this.at = -1;
    this.pinned = false;
    this.popover = element("div", "heat-pop");
    this.popover.popover = "manual";
    root.append(this.popover);
    for (const part of root.querySelectorAll("[data-needs-script]")) part.hidden = false;
    this.listen();
    this.openFromAddress();
  }

  listen() {
    this.text.addEventListener("mouseover", (event) => this.onHover(event));
    this.text.addEventListener("mouseleave", () => { if (!this.pinned) this.close(); });
    this.text.addEventListener("click", (event) => this.onClick(event));
    this.text.addEventListener("keydown", (event) => this.onKey(event));
    this.text.addEventListener("blur", () => { if (!this.pinned) this.close(); });
    this.root.querySelector("[data-unsure]")?.addEventListener("click", () => this.nextUnsure(1));
    this.root.querySelector("[data-metric]")?.addEventListener("change", (event) => this.measure(event.target.value));
    this.root.querySelector("[data-spaces]")?.addEventListener("change", (event) => {
      this.text.classList.toggle("show-spaces", event.target.checked);
    });
    document.addEventListener("click", (event) => { if (this.at >= 0 && this.isElsewhere(event.target)) this.close(); });
    // Before anything else hears of it: what is open on top closes first, and alone.
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.at < 0 || !this.root.isConnected) return;
      event.stopPropagation();
      this.close();
    }, true);
    window.addEventListener("scroll", () => this.place(), { passive: true });
  }

  openFromAddress() {
    const match = /^#t(\d+)$/.exec(location.hash);
    const index = match ? this.data.pieces.findIndex((piece) => piece.i >= Number(match[1])) : -1;
    if (index < 0) return;
    this.text.focus({ preventScroll: true });
    this.open(index, true);
  }

  onHover(event) {
    const span = event.target.closest(".p");
    if (span && !this.pinned) this.open(Number(span.dataset.i));
  }

  onClick(event) {
    const span = event.target.closest(".p");
    if (!span || String(getSelection())) return;
    const index = Number(span.dataset.i);
    if (this.pinned && index === this.at) this.close();
    else this.open(index, true);
  }

  // Not a piece, nor what is used while a popover is open: itself, and the map's own buttons and boxes.
  isElsewhere(target) {
    if (this.popover.contains(target)) return false;
    return !(this.root.contains(target) && target.closest(".p, button, label, select"));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const last = this.spans.length - 1;
    const step = getComputedStyle(this.text).direction === "rtl" ? -1 : 1;
    const moves = {
      ArrowRight: () => this.at + step,
      ArrowLeft: () => (this.at < 0 ? 0 : this.at - step),
      Home: () => 0,
      End: () => last,
    };
    if (event.key in moves) {
      event.preventDefault();
      this.open(Math.min(last, Math.max(0, moves[event.key]())), this.pinned, true);
    } else if (event.key === "Enter" && this.at >= 0) {
      event.preventDefault();
      this.open(this.at, !this.pinned, true);
    }
  }

  nextUnsure(direction) {
    const count = this.spans.length;
    for (let step = 1; step <= count; step += 1) {
      const index = (((this.at + direction * step) % count) + count) % count;
      if (!this.spans[index].classList.contains("h0")) {
        this.text.focus({ preventScroll: true });
        this.open(index, false, true);
        return;
      }
    }
    say("Nothing was unsure");
  }

  open(index, pin = false, spoken = false) {
    const before = this.spans[this.at];
    before?.classList.remove("on", "pinned");
    this.at = index;
    this.pinned = pin;
    const span = this.spans[index];
    span.classList.add("on");
    span.classList.toggle("pinned", pin);
    this.fill(this.data.pieces[index]);
    if (!this.popover.matches(":popover-open")) this.popover.showPopover();
    if (spoken || pin) span.scrollIntoView({ block: "nearest" });
    this.place();
    if (spoken) this.speak(this.data.pieces[index]);
  }

  close() {
    this.spans[this.at]?.classList.remove("on", "pinned");
    this.pinned = false;
    this.at = -1;
    if (this.popover.matches(":popover-open")) this.popover.hidePopover();
  }

  fill(piece) {
    const list = element("ol");
    for (const [text, share, chosen] of piece.top) list.append(row(text, share, chosen, false));
    if (piece.rest > 0.0005 && piece.rank !== undefined) list.append(row("anything else", piece.rest, false, true));
    this.popover.replaceChildren(element("p", "", headline(piece)), list);
    if (piece.ids) this.popover.append(facts(piece, this.data));
  }

  // Under the piece, or above it where there is no room; never over it, never outside the window.
  place() {
    if (this.at < 0) return;
    const boxes = this.spans[this.at].getClientRects();
    const box = boxes[boxes.length - 1] ?? this.text.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.popover;
    const below = box.bottom + 8;
    const above = boxes.length ? boxes[0].top - height - 8 : below;
    const top = below + height <= innerHeight || above < 0 ? below : above;
    const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    this.popover.style.top = `${top}px`;
    this.popover.style.left = `${left}px`;
  }

  speak(piece) {
    const others = piece.top.filter(([, , chosen]) => !chosen).slice(0, 2);
    const also = others.map(([text, share]) => `${text} ${percent(share)}`).join(", ");
    say(`${headline(piece)}${also ? `. Instead: ${also}` : ""}`);
  }

  measure(metric) {
    this.spans.forEach((span, index) => {
      span.classList.remove(...CLASSES);
      span.classList.add(heatOf(this.data.pieces[index], metric, this.data.limits));
    });
    this.root.querySelectorAll("[data-legend] span").forEach((word, index) => { word.textContent = LEGENDS[metric][index]; });
  }
}

const maps = new Map();

function start(root) {
  for (const map of maps.keys()) if (!map.isConnected) maps.delete(map);
  const found = root.matches?.("[data-heatmap]") ? [root] : root.querySelectorAll("[data-heatmap]");
  for (const map of found) if (!maps.has(map)) maps.set(map, new HeatMap(map));
}

const typing = (target) => target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;

function seen() {
  return [...maps.entries()].find(([root]) => root.checkVisibility())?.[1];
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "u" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat || event.isComposing || typing(event.target)) return;
  seen()?.nextUnsure(event.shiftKey ? -1 : 1);
});
document.addEventListener("htmx:load", (event) => start(event.detail.elt));
start(document);
