// Buttons with data-copy put that text on the clipboard, and data-copy-from the text of another element.
// They are hidden without script.
import { say } from "./live.js";

function textOf(button) {
  const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
  return source ? source.textContent : button.dataset.copy;
}

async function copy(button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(textOf(button));
    button.textContent = button.classList.contains("copy") ? "✓" : "✓ Copied";
    say("Copied");
  } catch {
    button.textContent = "✕";
    say("Not copied: the browser did not allow it", true);
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

const show = (root) => root.querySelectorAll?.("[data-copy], [data-copy-from]").forEach((button) => { button.hidden = false; });
show(document);
document.addEventListener("htmx:load", (event) => show(event.detail.elt));
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (button) copy(button);
});
