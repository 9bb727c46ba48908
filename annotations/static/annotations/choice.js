// Turns a <select data-choice> into a list that is found by typing a few letters (ARIA combobox with a listbox
// that stays open). Choosing sets the select and fires "choose" on it.
import { say } from "../flywheel/live.js";

let count = 0;

// Whether a hint such as "D50–D89" or "S00-T88, X1" has a range that holds a code such as "d63.0".
function spans(hint, code) {
  return [...hint.matchAll(/(\w+)\s*[–-]\s*(\w+)/g)].some(([, from, to]) =>
    /\d/.test(code) && code.padEnd(from.length, "0") >= from && code.slice(0, to.length) <= to);
}

// Every typed word must begin a word of the label or of its hint; labels where the first one begins the label come first.
export function matches(labels, typed, hints = {}) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const whole = (label) => `${label} ${hints[label] ?? ""}`.toLowerCase();
  const starts = (label, word) => whole(label).split(/[\s,/()–-]+/).some((part) => part.startsWith(word))
    || spans((hints[label] ?? "").toLowerCase(), word);
  const inside = (label, word) => whole(label).includes(word);
  const found = labels.filter((label) => words.every((word) => starts(label, word)));
  const rest = labels.filter((label) => !found.includes(label) && words.every((word) => inside(label, word)));
  if (!words.length) return found;
  const first = (label) => (label.toLowerCase().startsWith(words[0]) ? 0 : 1);
  return [...found.sort((a, b) => first(a) - first(b)), ...rest];
}

function how(hinted) {
  const typed = hinted ? "letters or a code" : "a few letters";
  return matchMedia("(pointer: coarse)").matches
    ? `Tap one below, or type ${typed}` : `Type ${typed}, then Enter; or click one`;
}

export function enhance(select) {
  if (select.hidden) return;
  const labels = [...select.options].map((option) => option.value).filter(Boolean);
  const hints = Object.fromEntries([...select.options].map((option) => [option.value, option.dataset.hint ?? ""]));
  const list = document.createElement("ul");
  list.id = `choices-${++count}`;
  list.className = "choices";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Answers");
  const input = document.createElement("input");
  const attributes = {
    type: "text", class: "control", role: "combobox", "aria-controls": list.id, "aria-expanded": "true",
    "aria-autocomplete": "list", "aria-label": "The right answer: type a few letters", autocomplete: "off",
    autocapitalize: "off", spellcheck: "false", placeholder: how(Object.values(hints).some(Boolean)), enterkeyhint: "send",
    "aria-describedby": select.getAttribute("aria-describedby"),
  };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  input.value = select.value;
  let active = -1;

  function activate(index) {
    const options = list.children;
    options[active]?.setAttribute("aria-selected", "false");
    active = options.length ? (index + options.length) % options.length : -1;
    const option = options[active];
    input.setAttribute("aria-activedescendant", option?.id ?? "");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
  }

  function draw(typed = input.value) {
    const found = matches(labels, typed, hints);
    list.replaceChildren(...found.map((label, index) => {
      const option = document.createElement("li");
      option.id = `${list.id}-${index}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dir = "auto";
      option.textContent = label;
      option.dataset.value = label;
      const notes = [label === select.dataset.original ? "the model’s answer" : "", hints[label]].filter(Boolean);
      if (notes.length) {
        const note = document.createElement("span");
        note.className = "muted";
        note.textContent = ` ${notes.join(" · ")}`;
        option.append(note);
      }
      return option;
    }));
    active = -1;
    input.removeAttribute("aria-activedescendant");
    // Before anything is typed, Enter chooses nothing but what was chosen before.
    if (typed.trim()) activate(0);
    else if (found.includes(input.value)) activate(found.indexOf(input.value));
    if (!found.length) {
      const none = document.createElement("li");
      none.className = "muted";
      none.textContent = "None fits. Try other letters.";
      list.replaceChildren(none);
      input.removeAttribute("aria-activedescendant");
      active = -1;
    }
    return found.length;
  }

  function choose(value) {
    select.value = value;
    input.value = value;
    select.dispatchEvent(new CustomEvent("choose", { bubbles: true }));
  }

  input.addEventListener("input", () => {
    select.value = "";
    const found = draw();
    say(found === 1 ? "1 answer fits" : `${found} answers fit`);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const moves = { ArrowDown: active + 1, ArrowUp: Math.max(active, 0) - 1 };
    if (event.key in moves) activate(moves[event.key]);
    else if (event.key === "Enter" && !event.repeat) {
      const value = list.children[active]?.dataset.value;
      if (value) choose(value);
    } else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(option.dataset.value);
  });
  const all = document.createElement("p");
  all.className = "muted small choices-all";
  all.textContent = `${labels.length} in all: scroll, or type`;
  select.hidden = true;
  select.after(input, list, all);
  // Whole rows look like the whole list.
  new ResizeObserver(() => { all.hidden = list.scrollHeight <= list.clientHeight + 1; }).observe(list);
  // Choosing sends: a button to send would ask for a second press.
  const send = select.closest("[data-panel]")?.querySelector("[data-send]");
  if (send) send.hidden = true;
  draw("");
}
