// The review screen: shows the next item in the same frame and lets the outbox post behind it.
// Without this script every button is a plain form.
import { say } from "../flywheel/live.js";
import { restart, seconds, tooSoon } from "./clock.js";
import * as drafts from "./drafts.js";
import * as leftovers from "./leftovers.js";
import { Outbox } from "./outbox.js";
import * as panels from "./panels.js";
import * as questions from "./questions.js";
import { label } from "./keys.js";
import "./sureness.js";

const page = document.querySelector("[data-review]");
const main = document.getElementById("main");
const stage = document.getElementById("stage");
const ahead = document.getElementById("ahead");
const incoming = document.getElementById("incoming");
const strip = document.getElementById("strip");
const bar = document.querySelector(".review-bar");
const queue = page.dataset.queue;
const user = document.body.dataset.user;
const outbox = new Outbox(user);
const DONE = {
  approve: "Approved", reject: "Rejected", correct: "Corrected", answer: "Answered", cant_judge: "Couldn’t judge",
  flag: "Flagged", skip: "Skipped",
};
const UNASKED = new Set(["skip", "cant_judge", "flag"]);
let fetching = false;

const current = () => stage.querySelector("[data-item]");
const keys = () => [...document.querySelectorAll("#stage [data-item], #ahead [data-item]")].map((a) => a.dataset.key);
const here = () => outbox.entries.filter((entry) => entry.queue === queue);
outbox.extra = () => ({ held: keys().join(",") });

// Items that this person judged, with those on their way.
function judged() {
  const counts = { undo: -1, skip: 0 };
  const waiting = here().reduce((sum, entry) => sum + (counts[entry.kind] ?? 1), 0);
  return Number(document.getElementById("progress").dataset.mine) + waiting;
}

function enable(yes) {
  for (const button of bar.querySelectorAll("[data-act]")) button.disabled = !yes;
  main.classList.toggle("ended", Boolean(stage.querySelector("[data-ending]")));
}

// Makes an item ready to be answered: what was typed on it before is there again.
function prepare(article) {
  const form = article.querySelector("[data-judgement]");
  const opened = drafts.restore(user, form);
  panels.prepare(article);
  questions.prepare(article);
  drafts.restoreLetters(user, form);
  label(article);
  return opened;
}

function show(article) {
  stage.querySelector("[data-judgement]")?.removeAttribute("id");
  stage.replaceChildren(article);
  article.querySelector("[data-judgement]").id = "judge";
  article.querySelector("[data-number]").textContent = Math.max(1, judged() + 1);
  const opened = prepare(article);
  enable(!("lost" in article.dataset));
  scrollTo({ top: 0 });
  restart();
  const told = article.querySelector("[data-told]:not([hidden])");
  (told?.querySelector("a, button") ?? article.querySelector(".item-title")).focus();
  if (opened && !told) panels.open(article, opened);
}

function advance() {
  const next = ahead.querySelector("[data-item]");
  if (next) {
    show(next);
    return;
  }
  stage.replaceChildren();
  enable(false);
  setTimeout(() => { if (!stage.children.length) wait(); }, 200);
  fetchNext();
}

function wait() {
  const words = document.createElement("p");
  words.className = "fetching muted";
  words.textContent = outbox.state === "offline"
    ? "No connection. Keep this page open; your answers are sent when you are back."
    : "Fetching the next one…";
  stage.replaceChildren(words);
}

async function fetchNext() {
  if (fetching || current() || here().length) return;
  fetching = true;
  try {
    const response = await fetch(`${page.dataset.next}?held=${keys().join(",")}`, { headers: { "HX-Request": "true" } });
    if (response.ok) take(await response.text());
    if (response.status === 401) warn("signed-out");
  } catch {
    // The tick tries again.
  } finally {
    fetching = false;
  }
}

// Puts a reply's parts where they belong; its articles are those the page does not hold yet.
function take(html, first = false) {
  htmx.swap("#incoming", html, { swapStyle: "innerHTML", swapDelay: 0, settleDelay: 0 });
  const held = keys();
  const news = [...incoming.querySelectorAll("[data-item]")];
  const notice = incoming.querySelector("[data-notice]");
  const ending = incoming.querySelector("[data-ending]");
  showLast();
  if (first && news.length) {
    if (current()) ahead.prepend(current());
    show(news[0]);
  } else {
    ahead.append(...news.filter((article) => !held.includes(article.dataset.key)));
    if (ending && !current() && !ahead.children.length) end(ending);
    else if (!current() && ahead.children.length) advance();
  }
  if (notice) {
    strip.replaceChildren(...notice.childNodes);
    strip.className = notice.className;
    strip.hidden = false;
    say(strip.textContent, !("milestone" in notice.dataset));
  }
  incoming.replaceChildren();
}

function end(ending) {
  if (stage.querySelector("[data-ending]")?.textContent === ending.textContent) return;
  stage.replaceChildren(ending);
  enable(false);
  ending.querySelector("h2").focus();
  say(ending.querySelector("h2").textContent);
}

// "Approved the last one · Undo", "Corrected to “Skin” · Undo" about what was given last, sent or not.
function showLast() {
  const last = document.getElementById("last");
  const given = here().filter((entry) => entry.kind in DONE && entry.kind !== "skip").at(-1);
  if (!given || here().some((entry) => entry.kind === "undo")) return;
  last.elements.key.value = given.body.key;
  const to = given.body.answer;
  const words = to ? `to “${to.length > 40 ? `${to.slice(0, 39)}…` : to}”` : "the last one";
  last.querySelector(".last-words").textContent = `${DONE[given.kind]} ${words}`;
  last.querySelector("button").disabled = false;
}

function send(form, decision, reason, pressed = {}) {
  const fields = new FormData(form);
  const field = (name) => fields.get(name) ?? "";
  const body = { key: field("key"), item: field("item"), reviewer: field("reviewer"), decision };
  if (reason) body.reason = reason;
  if (decision === "correct") body.answer = field("answer");
  if (field("note").trim()) body.note = field("note").trim();
  if (!UNASKED.has(decision)) Object.assign(body, questions.given(form), pressed);
  body.seconds = seconds();
  outbox.add({ url: form.action, queue, kind: decision, body });
  if (decision !== "skip") drafts.sent(user, form);
  strip.hidden = true;
  advance();
  showLast();
  say(current() ? `${DONE[decision]}. Item ${judged() + 1}` : `${DONE[decision]}.`);
}

function correct(form) {
  const panel = panels.panelOf(current(), "correct");
  const words = panels.refuse(panel);
  panels.tell(panel, words);
  if (words) say(words, true);
  else if (!lacks()) send(form, "correct");
}

// Whether something else is still asked; then the page says so by the question.
function lacks(pressed) {
  const words = questions.refuse(current(), pressed);
  if (words) {
    panels.close(current()); // its keys are the question's now; what was typed in it is kept
    say(words, true);
  }
  return words !== "";
}

function act(button) {
  const article = current();
  const form = article?.querySelector("[data-judgement]");
  if (!form || tooSoon()) return;
  const decision = button.dataset.act;
  const inPanel = button.closest("[data-panel]");
  const asks = panels.panelOf(article, decision);
  const needs = asks && !inPanel && (decision !== "reject" || asks.querySelector("[data-reason]"));
  if (needs) {
    if (asks.hidden) panels.open(article, decision);
    else panels.close(article);
  } else if (decision === "correct") correct(form);
  else if (UNASKED.has(decision) || !lacks(button.closest("[data-question]"))) {
    const pressed = button.name.startsWith("q-") ? { [button.name]: [button.value] } : {};
    send(form, decision, button.dataset.reason, pressed);
  }
}

function leave() {
  const article = current();
  if (!article || !panels.opened(article)) return false;
  panels.close(article);
  article.querySelector(".item-title").focus({ preventScroll: true });
  return true;
}

function undo(form) {
  const key = form.elements.key.value;
  if (!key || form.querySelector("button").disabled) return;
  form.querySelector("button").disabled = true;
  form.querySelector(".last-words").textContent = "Taking it back…";
  outbox.add({ url: form.action, queue, kind: "undo", body: { key, reviewer: form.elements.reviewer.value } });
}

function warn(state) {
  const words = { "signed-out": "You are signed out. Your answers are kept on this device. ",
    "somebody-else": "Somebody else is signed in here. Your answers are kept on this device until you are. " }[state];
  if (!words) {
    if (strip.dataset.state) strip.hidden = true;
    delete strip.dataset.state;
    return;
  }
  if (strip.dataset.state === state) return;
  const link = document.createElement("a");
  Object.assign(link, { href: page.dataset.signIn, target: "_blank", rel: "noopener", textContent: "Sign in again" });
  strip.replaceChildren(words, link, " (new tab), then everything is sent.");
  strip.dataset.state = state;
  strip.className = "notice warn";
  strip.hidden = false;
  say(strip.textContent, true);
}

outbox.addEventListener("state", ({ detail: { state, waiting } }) => {
  const sent = document.getElementById("sent");
  if (waiting) sent.hidden = false; // nothing is saved before anything was sent
  const why = state === "offline" ? ", no connection" : "";
  const words = waiting ? `${waiting} waiting${why}` : "Saved";
  sent.classList.toggle("warn", waiting > 0 && why !== "");
  sent.replaceChildren();
  const glyph = document.createElement("span");
  glyph.ariaHidden = "true";
  glyph.textContent = waiting ? (why ? "▲" : "…") : "✓";
  const text = document.createElement("span");
  text.className = "sent-words";
  text.textContent = words;
  sent.append(glyph, " ", text);
  warn(waiting ? state : "");
  if (!current() && stage.querySelector(".fetching")) wait();
});

outbox.addEventListener("reply", ({ detail: { entry, html, status, ok } }) => {
  const back = !ok || entry.kind === "undo";
  if (entry.queue !== queue || status === 404 || status === 400) {
    if (!ok) {
      strip.textContent = `An answer was not taken${entry.body.answer ? `: “${entry.body.answer}”` : ""}. Its item is no longer here.`;
      strip.hidden = false;
    }
  } else {
    take(html, back);
    if (entry.kind === "undo" && ok) say(`Taken back. Item ${judged() + 1}`);
  }
  if (!current() && !outbox.entries.length) fetchNext();
});

// A note is opened to be written: the cursor goes there at once, so that letters are no longer keys.
function toggleNote(note) {
  note.open = !note.open;
  if (note.open) note.querySelector("textarea").focus();
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest(".note > summary");
  if (summary) {
    event.preventDefault();
    toggleNote(summary.parentElement);
    return;
  }
  const button = event.target.closest("[data-act], [data-leave], [data-go-on]");
  if (!button) return;
  event.preventDefault();
  if (button.matches("[data-leave]")) leave();
  else if (button.matches("[data-go-on]")) {
    drafts.sent(user, current().querySelector("[data-judgement]")); // they have read what became of it
    advance();
  } else act(button);
});
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-undo]")) {
    event.preventDefault();
    undo(event.target);
  } else if (event.target.matches("[data-judgement]")) event.preventDefault();
});
document.addEventListener("choose", () => correct(current().querySelector("[data-judgement]")));
document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat) return;
  if (event.key === "Escape" && event.target.matches?.(".note textarea")) {
    current().querySelector(".item-title").focus({ preventScroll: true });
    return;
  }
  if (event.key === "Escape" && leave()) event.preventDefault();
  const panel = event.target.closest?.("[data-panel]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && panel) {
    event.preventDefault();
    panel.querySelector("[data-send]").click();
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest?.("[data-question]")) {
    event.preventDefault();
    bar.querySelector("[data-act=answer][data-hotkey=Enter]")?.click();
  } else if (event.key === "Escape" && event.target.matches?.("[data-question] textarea")) {
    current().querySelector(".item-title").focus({ preventScroll: true });
  }
});
document.addEventListener("further", () => { if (current()) questions.further(current()); });
// The last items are with others, or the connection was gone: look again by itself.
document.body.addEventListener("tick", () => {
  const why = stage.querySelector("[data-ending]")?.dataset.ending;
  if (!current() && (why === "elsewhere" || !why)) fetchNext();
});

for (const type of ["input", "change"]) {
  document.addEventListener(type, (event) => {
    const form = event.target.closest?.("#stage [data-judgement]");
    if (form) drafts.keep(user, form);
  });
}

if (current()) {
  const opened = prepare(current());
  restart();
  enable(!("lost" in current().dataset));
  current().querySelector(".item-title").focus({ preventScroll: true });
  if (opened) panels.open(current(), opened);
} else enable(false);
leftovers.look(user, page);
outbox.send();
