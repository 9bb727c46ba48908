// The questions in an item: which one the number keys answer, what still lacks an answer, what is sent.
import * as marks from "./marks.js";

export const all = (article) => [...article.querySelectorAll("[data-question]")];

const isMarks = (question) => ["spans", "tokens"].includes(question.dataset.kind);

function answered(question) {
  if (isMarks(question)) return marks.count(question) > 0;
  const text = question.querySelector("[data-text]");
  return text ? text.value.trim() !== "" : question.querySelector("input:checked") !== null;
}

export function activate(article, question) {
  for (const one of all(article)) one.classList.toggle("active", one === question);
}

const next = (article) => all(article).find((question) => !answered(question)) ?? article.querySelector("[data-question].active");

export function prepare(article) {
  if (article.dataset.asked) return;
  article.dataset.asked = "yes";
  for (const question of all(article)) {
    if (isMarks(question)) marks.prepare(article, question);
    question.addEventListener("focusin", () => activate(article, question));
    question.addEventListener("change", (event) => {
      tell(question, "");
      if (event.target.type === "radio") activate(article, next(article));
    });
  }
  activate(article, next(article));
}

// On to the question after this one; one that is answered in words is first gone to.
export function further(article) {
  const questions = all(article);
  if (!questions.length) return;
  const at = questions.findIndex((question) => question.classList.contains("active"));
  const waits = at >= 0 && questions[at].querySelector("[data-text]") && !questions[at].contains(document.activeElement);
  const question = questions[waits ? at : (at + 1) % questions.length];
  activate(article, question);
  question.scrollIntoView({ block: "nearest" });
  (question.querySelector("[data-text]") ?? question).focus({ preventScroll: true });
}

const ASK = { text: "Write an answer.", spans: "Mark at least one piece of the answer.",
  tokens: "Mark at least one piece of the answer.", choices: "Choose at least one." };

export function tell(question, words) {
  const box = question.querySelector("[data-wrong]");
  box.textContent = words;
  box.hidden = !words;
}

// Says by the field what is still asked; the words, or nothing when all is answered.
export function refuse(article, pressed) {
  const lacking = all(article).find((question) => "required" in question.dataset && question !== pressed
    && !question.querySelector("[data-act]") && !answered(question));
  for (const question of all(article)) tell(question, "");
  if (!lacking) return "";
  const words = ASK[lacking.dataset.kind] ?? "Choose an answer.";
  tell(lacking, words);
  activate(article, lacking);
  lacking.scrollIntoView({ block: "nearest" });
  (lacking.querySelector("[data-text]") ?? lacking).focus({ preventScroll: true });
  return words;
}

// Field to values, as a form without script would send them.
export function given(form) {
  const body = {};
  for (const [name, value] of new FormData(form)) {
    if (name.startsWith("q-") && value) (body[name] ??= []).push(value);
  }
  return body;
}
