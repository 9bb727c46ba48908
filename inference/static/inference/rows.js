// J and K move through the rows of a list; the row's link then has the focus, so Enter shows it beside the list and,
// while one is shown, moving shows the next. O opens the whole exchange, X ticks the row, Esc closes what is beside.
import { say } from "../flywheel/live.js";

const typing = (target) => target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
const rows = () => [...document.querySelectorAll("[data-rows] [data-row]")];
const link = (row) => row?.querySelector(".asked a");
const peek = document.getElementById("peek");
const bulk = document.querySelector("[data-bulk]");
const chosen = bulk?.querySelector("[data-chosen]");
const all = chosen?.textContent;
const ticks = () => [...(bulk?.querySelectorAll("input[name=id]:checked") ?? [])];

const current = () => rows().find((row) => row.contains(document.activeElement)) ?? document.querySelector("[data-row].shown");

function move(step) {
  const list = rows();
  const at = list.indexOf(current());
  const next = list[at < 0 ? 0 : Math.min(list.length - 1, Math.max(0, at + step))];
  link(next)?.focus();
  if (peek?.childElementCount && next && !next.classList.contains("shown")) link(next).click();
}

function close() {
  const shown = document.querySelector("[data-row].shown");
  const address = peek.querySelector("[data-close]").getAttribute("href");
  peek.replaceChildren();
  mark(undefined);
  history.replaceState(history.state, "", address);
  link(shown)?.focus();
}

function mark(row) {
  for (const each of rows()) {
    each.classList.toggle("shown", each === row);
    if (each === row) link(each).setAttribute("aria-current", "true");
    else link(each)?.removeAttribute("aria-current");
  }
}

function count() {
  const number = ticks().length;
  if (chosen) chosen.textContent = number ? `${number} ticked ${number === 1 ? "is" : "are"} sent on.` : all;
  bulk.querySelector("[data-none]").hidden = !number;
  bulk.querySelector("[data-two]").hidden = number !== 2;
}

const acts = {
  j: () => move(1),
  k: () => move(-1),
  o: () => (current()?.querySelector(".when a") ?? peek?.querySelector("[data-open]"))?.click(),
  x: () => current()?.querySelector("input[name=id]")?.click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target)) return;
  if (event.key === "Escape" && peek?.childElementCount) close();
  else if (event.key in acts) acts[event.key]();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-close]") || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  close();
});
bulk?.addEventListener("change", (event) => { if (event.target.name === "id") count(); });
bulk?.querySelector("[data-none]").addEventListener("click", () => {
  for (const box of ticks()) box.checked = false;
  count();
});
peek?.addEventListener("htmx:afterSwap", (event) => {
  const from = event.detail.requestConfig.elt.closest("[data-row]");
  mark(from);
  say(peek.querySelector("h2")?.textContent ?? "");
  if (matchMedia("(max-width: 63.99rem)").matches) {
    peek.focus();
    peek.scrollIntoView();
  }
});
// The browser keeps ticks over a reload.
if (bulk) count();
