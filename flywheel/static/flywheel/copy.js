// Buttons with data-copy put that text on the clipboard, and data-copy-from the text of another element.
// They are hidden without script.
import { say } from "./live.js";

function textOf(button) {
  const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
  return source ? source.textContent : button.dataset.copy;
}

async function copy(button) {
  let result = "done";
  try {
    await navigator.clipboard.writeText(textOf(button));
    say("Copied");
  } catch {
    result = "refused";
    say("Not copied: the browser did not allow it", true);
  }
  button.dataset.copied = result;
  setTimeout(() => { delete button.dataset.copied; }, 1500);
}

const show = (root) => root.querySelectorAll?.("[data-copy], [data-copy-from]").forEach((button) => { button.hidden = false; });
show(document);
document.addEventListener("htmx:load", (event) => show(event.detail.elt));
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (button) copy(button);
});
