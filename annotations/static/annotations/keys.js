// One key, one control: a press clicks the shown control whose data-hotkey is that key; the key is drawn on it.
// Dead while typing, with a modifier, while composing, on repeat, and just after an item appeared.
import { tooSoon } from "./clock.js";

const SWITCH = "flywheel.keys";
const STEP = 120;

const typing = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") != null;
const on = () => localStorage.getItem(SWITCH) !== "off";

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

document.addEventListener("keydown", (event) => {
  const isDead = dead(event);
  // A browser would press a form's first button, wherever it is.
  if (event.key === "Enter" && event.target.matches?.("[data-question] input")) event.preventDefault();
  if (isDead) return;
  const help = document.getElementById("keys");
  if (help?.matches(":popover-open") && event.key !== "?") return;
  if (!on() && event.key !== "?") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
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
