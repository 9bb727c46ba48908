// Marks on an answer: words of it (spans), or pieces of the heat map (tokens), by mouse, touch and keys. What is
// marked is kept in the question's field as JSON; offsets there count characters, not UTF-16 units.
import { say } from "../flywheel/live.js";

const state = new WeakMap();

export const count = (question) => state.get(question)?.found.length ?? 0;

const characters = (text, at) => [...text.slice(0, at)].length;
const units = (text, at) => [...text].slice(0, at).join("").length;

function write(question) {
  const { field, found, text } = state.get(question);
  const kept = question.dataset.kind === "tokens" ? found
    : found.map(({ start, end, label }) => ({ start: characters(text, start), end: characters(text, end), label }));
  field.value = kept.length ? JSON.stringify(kept) : "";
  field.dispatchEvent(new Event("change", { bubbles: true }));
  draw(question);
}

function labelNumber(question, label) {
  return [...question.querySelectorAll("[data-label]")].findIndex((button) => button.dataset.label === label) + 1;
}

function draw(question) {
  const { found, answer, text } = state.get(question);
  question.querySelector("[data-marks]").replaceChildren(...found.map((mark) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const words = mark.text ?? text.slice(mark.start, mark.end);
    Object.assign(button, { type: "button", className: "button button-quiet", textContent: "✕" });
    button.setAttribute("aria-label", `Take back: ${words}, ${mark.label}`);
    button.addEventListener("click", () => {
      found.splice(found.indexOf(mark), 1);
      write(question);
      question.focus();
      say(`Taken back: ${words}`);
    });
    const shown = document.createElement("span");
    shown.className = `mark-${labelNumber(question, mark.label)}`;
    shown.textContent = words;
    item.append(shown, ` ${mark.label} `, button);
    return item;
  }));
  if (question.dataset.kind === "tokens") {
    drawPieces(question);
    return;
  }
  const parts = [];
  let at = 0;
  for (const mark of found) {
    const element = document.createElement("mark");
    element.className = `mark-${labelNumber(question, mark.label)}`;
    element.dataset.label = mark.label;
    element.textContent = text.slice(mark.start, mark.end);
    parts.push(text.slice(at, mark.start), element);
    at = mark.end;
  }
  answer.replaceChildren(...parts, text.slice(at));
}

const heatText = (question) => question.closest("[data-item]").querySelector("[data-heat-text]");

function drawPieces(question) {
  const { found } = state.get(question);
  for (const span of heatText(question)?.querySelectorAll(".p") ?? []) {
    span.classList.toggle("flagged", found.some((mark) => mark.piece === Number(span.dataset.i)));
  }
}

function offset(answer, node, at) {
  const range = document.createRange();
  range.selectNodeContents(answer);
  range.setEnd(node, at);
  return range.toString().length;
}

// What is selected in the answer, without the spaces around it, or nothing.
function selected(answer, text) {
  const selection = getSelection();
  if (selection.isCollapsed || !answer.contains(selection.anchorNode) || !answer.contains(selection.focusNode)) return null;
  const ends = [offset(answer, selection.anchorNode, selection.anchorOffset), offset(answer, selection.focusNode, selection.focusOffset)];
  let [start, end] = ends.sort((one, two) => one - two);
  while (start < end && /\s/.test(text[start])) start += 1;
  while (end > start && /\s/.test(text[end - 1])) end -= 1;
  return start < end ? { start, end } : null;
}

function markWords(question, label) {
  const kept = state.get(question);
  if (!kept.chosen) {
    say("Select words in the answer first", true);
    return;
  }
  const { start, end } = kept.chosen;
  kept.found = [...kept.found.filter((mark) => mark.end <= start || mark.start >= end), { start, end, label }]
    .sort((one, two) => one.start - two.start);
  kept.chosen = null;
  getSelection().removeAllRanges();
  write(question);
  say(`Marked “${kept.text.slice(start, end)}” as ${label}`);
}

function markPiece(question, label) {
  const kept = state.get(question);
  const text = heatText(question);
  const span = text?.querySelector(".p.on");
  if (!span) {
    say("Choose a piece first: H shows them", true);
    return;
  }
  const data = JSON.parse(document.getElementById(text.closest("[data-heatmap]").dataset.heatmap).textContent);
  const piece = Number(span.dataset.i);
  const { i: index, t: words } = data.pieces[piece];
  kept.found = [...kept.found.filter((mark) => mark.index !== index), { index, label, text: words, piece }]
    .sort((one, two) => one.index - two.index);
  write(question);
  say(`Marked “${words}” as ${label}`);
}

// The n-th word selected, or with more the words from the first chosen to it.
function byWord(answer, kept, step, more) {
  const words = [...kept.text.matchAll(/\S+/g)].map((match) => [match.index, match.index + match[0].length]);
  if (!words.length) return;
  const limit = (n) => Math.max(0, Math.min(words.length - 1, n));
  kept.to = kept.to === undefined ? (step > 0 ? 0 : words.length - 1) : limit(kept.to + step);
  if (!more || kept.from === undefined) kept.from = kept.to;
  const [start, end] = [Math.min(kept.from, kept.to), Math.max(kept.from, kept.to)];
  kept.chosen = { start: words[start][0], end: words[end][1] };
  select(answer, kept.chosen);
  say(kept.text.slice(kept.chosen.start, kept.chosen.end));
}

function select(answer, { start, end }) {
  const walker = document.createTreeWalker(answer, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let at = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const after = at + node.data.length;
    if (start >= at && start < after) range.setStart(node, start - at);
    if (end > at && end <= after) range.setEnd(node, end - at);
    at = after;
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

function listen(answer, question, kept) {
  answer.tabIndex = 0;
  answer.dataset.hotkey = "w";
  answer.setAttribute("role", "group");
  answer.setAttribute("aria-label", "The model’s answer: arrows move by word, with Shift they select");
  answer.addEventListener("click", () => { if (!kept.chosen) answer.focus({ preventScroll: true }); });
  answer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    byWord(answer, kept, step, event.shiftKey);
  });
  document.addEventListener("selectionchange", () => {
    if (!answer.isConnected) return;
    const chosen = selected(answer, kept.text);
    if (chosen || answer.contains(getSelection().anchorNode)) kept.chosen = chosen;
  });
}

function before(field, text, isTokens) {
  let found;
  try {
    found = JSON.parse(field.value || "[]");
  } catch {
    return [];
  }
  if (isTokens) return found;
  return found.map(({ start, end, label }) => ({ start: units(text, start), end: units(text, end), label }));
}

export function prepare(article, question) {
  const isTokens = question.dataset.kind === "tokens";
  const answer = article.querySelector("[data-answer]");
  const lines = question.querySelector("[data-mark-lines]");
  const field = lines.querySelector("textarea");
  const text = answer?.textContent ?? "";
  const kept = { answer, field, text, found: before(field, text, isTokens), chosen: null };
  state.set(question, kept);
  lines.hidden = true;
  question.querySelector("[data-labels]").hidden = false;
  question.querySelector("[data-marks-how]").hidden = false;
  for (const button of question.querySelectorAll("[data-label]")) {
    // A press would take the selection away that it is about.
    button.addEventListener("mousedown", (event) => event.preventDefault());
    button.addEventListener("click", () => (isTokens ? markPiece : markWords)(question, button.dataset.label));
  }
  if (isTokens) article.addEventListener("htmx:load", () => drawPieces(question));
  else listen(answer, question, kept);
  draw(question);
}
