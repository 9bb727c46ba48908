// One key, one control: a press clicks the shown control whose data-hotkey is that key; the key is drawn on it.
// Dead while typing, with a modifier, while composing, on repeat, and just after an item appeared.
// Letters can be changed under "?": data-hotkey names the usual one, what a person presses instead is kept here.
import { say } from "../flywheel/live.js";
import { tooSoon } from "./clock.js";

const SWITCH = "flywheel.keys";
const CHOSEN = "flywheel.keys.chosen";
const STEP = 120;
const RESERVED = new Set(["u"]); // the heat map's

const typing = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") != null;
const on = () => localStorage.getItem(SWITCH) !== "off";
const sheet = document.getElementById("keys");
const changes = [...(sheet?.querySelectorAll("[data-change]") ?? [])];
let changing = null;

function readChosen() {
  try {
    const found = JSON.parse(localStorage.getItem(CHOSEN) ?? "{}");
    return found !== null && typeof found === "object" ? found : {};
  } catch {
    return {};
  }
}

const chosen = readChosen();
const pressedFor = (usual) => chosen[usual] ?? usual;

// The usual key that a pressed one stands for; nothing when it was given up for another.
function meant(key) {
  const found = Object.keys(chosen).find((usual) => chosen[usual] === key);
  return found ?? (key in chosen ? "" : key);
}

// Draws the keys that are pressed now onto controls inside ``root``.
export function label(root) {
  for (const usual of Object.keys(chosen)) {
    for (const control of root.querySelectorAll(`[data-hotkey="${CSS.escape(usual)}"]`)) {
      for (const drawn of control.querySelectorAll("kbd")) drawn.textContent = pressedFor(usual).toUpperCase();
    }
    for (const drawn of root.querySelectorAll(`[data-drawn="${CSS.escape(usual)}"]`)) drawn.textContent = pressedFor(usual).toUpperCase();
  }
}

// An open panel comes first, then the question that is being answered; other questions take no keys.
function control(key) {
  const named = `[data-hotkey="${CSS.escape(key)}"]`;
  const found = [...document.querySelectorAll(named)].filter((element) => element.checkVisibility() && !element.disabled);
  return found.find((element) => element.closest("[data-panel]"))
    ?? found.find((element) => element.closest("[data-question].active"))
    ?? found.find((element) => !element.closest("[data-question]"));
}

function dead(event) {
  if (event.isComposing || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return true;
  if (event.defaultPrevented || typing(event.target)) return true;
  return event.shiftKey && event.key !== "?";
}

function stopChanging() {
  if (!changing) return;
  changing.setAttribute("aria-pressed", "false");
  changing = null;
}

function tell(words) {
  sheet.querySelector("[data-keys-told]").textContent = words;
  say(words);
}

function change(key) {
  const usual = changing.dataset.change;
  const used = changes.find((button) => button !== changing && pressedFor(button.dataset.change) === key);
  if (!/^\p{L}$/u.test(key) || RESERVED.has(key)) tell(`${key.length === 1 ? key.toUpperCase() : key} can’t be used here. Choose another letter.`);
  else if (used) tell(`${key.toUpperCase()} is already ${used.dataset.what}. Choose another letter.`);
  else {
    chosen[usual] = key;
    label(document);
    if (key === usual) delete chosen[usual];
    localStorage.setItem(CHOSEN, JSON.stringify(chosen));
    tell(`${changing.dataset.what} is ${key.toUpperCase()} now.`);
    stopChanging();
  }
}

document.addEventListener("keydown", (event) => {
  if (!changing) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.repeat || ["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
  if (event.key === "Escape" || event.key === "Tab") stopChanging();
  else change(event.key.length === 1 ? event.key.toLowerCase() : event.key);
}, { capture: true });

document.addEventListener("keydown", (event) => {
  const isDead = dead(event);
  // A browser would press a form's first button, wherever it is.
  if (event.key === "Enter" && event.target.matches?.("[data-question] input")) event.preventDefault();
  if (isDead) return;
  if (sheet?.matches(":popover-open") && event.key !== "?") return;
  if (!on() && event.key !== "?") return;
  const key = event.key.length === 1 ? meant(event.key.toLowerCase()) : event.key;
  // Enter on a control is that control's own.
  if (key === "Enter" && event.target.closest("button, a, summary")) return;
  if (key === "j" || key === "k") {
    scrollBy({ top: key === "j" ? STEP : -STEP });
    return;
  }
  if (key === "q") {
    event.preventDefault();
    if (!tooSoon()) document.dispatchEvent(new CustomEvent("further"));
    return;
  }
  const found = control(key);
  if (!found) return;
  event.preventDefault();
  if (!tooSoon()) found.click();
});

const box = document.querySelector("[data-keys-switch]");
if (box) {
  box.checked = on();
  const show = () => document.body.classList.toggle("keys-off", !box.checked);
  box.addEventListener("change", () => {
    localStorage.setItem(SWITCH, box.checked ? "on" : "off");
    show();
  });
  show();
}

for (const button of changes) {
  button.hidden = false;
  button.addEventListener("click", () => {
    if (changing === button) {
      stopChanging();
      return;
    }
    stopChanging();
    changing = button;
    button.setAttribute("aria-pressed", "true");
    tell(`Press the new key for ${button.dataset.what}; Esc keeps ${pressedFor(button.dataset.change).toUpperCase()}.`);
  });
}
sheet?.addEventListener("toggle", stopChanging);
const usualAgain = sheet?.querySelector("[data-keys-usual]");
if (usualAgain) {
  usualAgain.hidden = false;
  usualAgain.addEventListener("click", () => {
    for (const usual of Object.keys(chosen)) chosen[usual] = usual;
    label(document);
    for (const usual of Object.keys(chosen)) delete chosen[usual];
    localStorage.removeItem(CHOSEN);
    tell("The usual keys are back.");
  });
}
label(document);
