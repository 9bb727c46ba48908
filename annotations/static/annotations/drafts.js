// What was typed on an item and not sent yet: kept by person and item, over a reload and a session's end, until
// it is sent. It can hold words of the item, so it goes with sign-out and when somebody else signs in here.
const PREFIX = "flywheel.draft.";
const MOST = 50;
const OLDEST = 14 * 86_400_000;

const begun = new WeakMap();
const gone = new WeakSet(); // forms that were sent: taking them from the page fires a last change
let over = false;

// Not elements.item, which is a method.
const itemOf = (form) => form.elements.namedItem("item").value;

function read(user) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + user) ?? "{}");
  } catch {
    return {};
  }
}

function write(user, drafts) {
  if (over) return;
  const kept = Object.entries(drafts).filter(([, draft]) => Date.now() - draft.at < OLDEST)
    .sort(([, one], [, two]) => two.at - one.at).slice(0, MOST);
  try {
    if (kept.length) localStorage.setItem(PREFIX + user, JSON.stringify(Object.fromEntries(kept)));
    else localStorage.removeItem(PREFIX + user);
  } catch {
    // Storage is full or forbidden: what was typed is in the page only.
  }
}

const fields = (form) => [...form.elements].filter((field) => !field.matches("button, fieldset")
  && (field.name === "note" || field.name === "answer" || field.name.startsWith("q-")));

const isBox = (field) => field.type === "checkbox" || field.type === "radio";

function typed(form) {
  const found = {};
  for (const field of fields(form)) {
    if (!isBox(field)) found[field.name] = [field.value];
    else if (field.checked) (found[field.name] ??= []).push(field.value);
  }
  const letters = form.querySelector("[role=combobox]")?.value;
  return letters && !form.elements.namedItem("answer").value ? { ...found, letters } : found;
}

const panel = (form) => form.querySelector("[data-panel]:not([hidden])")?.dataset.panel ?? "";

// Notes what an item holds before anybody types, then puts the draft in. The panel that was open, or nothing.
export function restore(user, form) {
  if (begun.has(form)) return "";
  const cameBack = form.closest("[data-item]").querySelector("[data-told]:not([hidden])");
  begun.set(form, cameBack ? "" : JSON.stringify(typed(form)));
  const draft = read(user)[itemOf(form)];
  if (!draft || cameBack) {
    if (cameBack) keep(user, form);
    return "";
  }
  for (const field of fields(form)) {
    const values = draft.typed[field.name] ?? [];
    if (isBox(field)) field.checked = values.includes(field.value);
    else field.value = values[0] ?? field.value;
  }
  const note = form.querySelector(".note");
  if (note && draft.typed.note?.[0]) note.open = true;
  return draft.panel;
}

// The letters typed at a list that nothing was chosen from: once the list stands.
export function restoreLetters(user, form) {
  const letters = read(user)[itemOf(form)]?.typed.letters;
  const box = form.querySelector("[role=combobox]");
  if (!letters || !box) return;
  box.value = letters;
  box.dispatchEvent(new Event("input"));
}

export function keep(user, form) {
  if (gone.has(form)) return;
  const now = typed(form);
  const drafts = read(user);
  const item = itemOf(form);
  if (JSON.stringify(now) === begun.get(form)) {
    if (!(item in drafts)) return;
    delete drafts[item];
  } else {
    const [queue, key] = [document.querySelector("[data-review]").dataset.queue, form.elements.namedItem("key").value];
    drafts[item] = { typed: now, panel: panel(form), at: Date.now(), queue, key, mine: changed(form, now) };
  }
  write(user, drafts);
}

// The names of fields that are not as they were before anybody typed.
function changed(form, now) {
  const before = JSON.parse(begun.get(form) || "{}");
  return Object.keys(now).filter((name) => JSON.stringify(now[name]) !== JSON.stringify(before[name]));
}

// A queue's drafts by item.
export const of = (user, queue) => Object.fromEntries(Object.entries(read(user)).filter(([, draft]) => draft.queue === queue));

// What somebody typed, to be read: a line for each field.
export const words = ({ typed: given, mine }) => mine.flatMap((name) => given[name]).filter((value) => value && !value.startsWith("[{")).join("\n");

export function forget(user, item) {
  const drafts = read(user);
  delete drafts[item];
  write(user, drafts);
}

// Sent: the outbox has it now.
export function sent(user, form) {
  gone.add(form);
  forget(user, itemOf(form));
}

export const count = (user) => Object.keys(read(user)).length;

// This page may write no more: leaving it fires a last change on the field that has the focus.
export function end() {
  over = true;
  forgetAll();
}

export function forgetAll(but = "") {
  for (const name of Object.keys(localStorage)) {
    if (name.startsWith(PREFIX) && name !== PREFIX + but) localStorage.removeItem(name);
  }
}
