// What an answer asks for before it is sent: reasons, a correction. Opens and closes in place, keeps drafts.
import { draw } from "./difference.js";
import { enhance } from "./choice.js";

export const panelOf = (article, name) => article.querySelector(`[data-panel="${name}"]`);

export function prepare(article) {
  article.querySelectorAll("[data-choice]").forEach(enhance);
  article.querySelectorAll("[data-leave]").forEach((button) => { button.hidden = false; });
  const editor = article.querySelector("[data-edit]");
  const box = article.querySelector("[data-difference]");
  if (!editor || box.dataset.live) return;
  box.dataset.live = "yes";
  const show = () => draw(box, editor.dataset.original, editor.value);
  editor.addEventListener("input", show);
  show();
}

export function open(article, name) {
  for (const panel of article.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== name;
  const panel = panelOf(article, name);
  if (!panel) return;
  const field = panel.querySelector("[role=combobox], [data-edit]");
  (field ?? panel).focus({ preventScroll: true });
  field?.select?.();
  panel.scrollIntoView({ block: "nearest" });
}

export function close(article) {
  for (const panel of article.querySelectorAll("[data-panel]")) panel.hidden = true;
}

export const opened = (article) => article.querySelector("[data-panel]:not([hidden])");

// What is wrong with a correction before it is sent, or nothing; the server says the same words.
export function refuse(panel) {
  const field = panel.querySelector("[name=answer]");
  const answer = field.value.trim();
  if (!answer) return field.matches("select") ? "Choose the right answer." : "Write the right answer.";
  if (answer === field.dataset.original.trim()) return "That is the model's answer. Approve it?";
  return "";
}

export function tell(panel, words) {
  const field = panel.querySelector("[role=combobox], [data-edit]");
  const box = panel.querySelector("[data-wrong]");
  const instead = panel.querySelector("[data-approve-instead]");
  box.textContent = words;
  box.hidden = !words;
  instead.hidden = !words.endsWith("?");
  field.toggleAttribute("aria-invalid", Boolean(words));
  if (words) field.setAttribute("aria-invalid", "true");
  if (!instead.hidden) instead.focus();
  else if (words) field.focus();
}
