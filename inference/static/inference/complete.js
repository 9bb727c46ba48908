// Offers what the filter line may go on with: a combobox as the ARIA practices have it. The server knows the words;
// without it, or without script, the line works as it is.
const WAIT = 120;

class Complete {
  constructor(input) {
    this.input = input;
    this.found = { start: 0, end: 0, options: [] };
    this.at = -1;
    this.asked = 0;
    this.list = document.createElement("ul");
    this.list.className = "offers";
    this.list.id = "offers";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "What the filter may go on with");
    this.list.hidden = true;
    input.after(this.list);
    const said = { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "offers" };
    for (const [name, value] of Object.entries(said)) input.setAttribute(name, value);
    input.addEventListener("input", () => this.later());
    input.addEventListener("keydown", (event) => this.onKey(event));
    input.addEventListener("blur", () => this.close());
    this.list.addEventListener("mousedown", (event) => {
      const option = event.target.closest("[role=option]");
      event.preventDefault();
      if (option) this.take(Number(option.dataset.at));
    });
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), WAIT);
  }

  async ask() {
    const number = (this.asked += 1);
    const { value, selectionStart } = this.input;
    const query = new URLSearchParams({ line: value, at: selectionStart });
    try {
      const answer = await fetch(`${this.input.dataset.complete}?${query}`, { headers: { Accept: "application/json" } });
      if (!answer.ok || answer.redirected) return;
      const found = await answer.json();
      // What was typed meanwhile asks for itself.
      if (number === this.asked && this.input.value === value && document.activeElement === this.input) this.show(found);
    } catch {
      this.close();
    }
  }

  show(found) {
    this.found = found;
    const typed = this.input.value.slice(found.start, this.input.selectionStart);
    const rows = found.options.filter(({ text }) => text !== typed);
    this.found.options = rows;
    if (!rows.length) return this.close();
    this.list.replaceChildren(...rows.map(({ text, hint }, index) => {
      const row = document.createElement("li");
      row.id = `offer-${index}`;
      row.dataset.at = index;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", "false");
      const word = document.createElement("code");
      word.textContent = text;
      const note = document.createElement("span");
      note.className = "muted";
      note.textContent = hint;
      row.append(word, note);
      return row;
    }));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.choose(-1);
  }

  close() {
    this.asked += 1;
    clearTimeout(this.timer);
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.choose(-1);
  }

  choose(index) {
    this.at = index;
    [...this.list.children].forEach((row, at) => {
      row.setAttribute("aria-selected", String(at === index));
      if (at === index) row.scrollIntoView({ block: "nearest" });
    });
    if (index < 0) this.input.removeAttribute("aria-activedescendant");
    else this.input.setAttribute("aria-activedescendant", `offer-${index}`);
  }

  take(index) {
    const { start, end } = this.found;
    const { text } = this.found.options[index];
    const goesOn = text.endsWith(":");
    const after = this.input.value.slice(end);
    const put = goesOn || after.startsWith(" ") || after.startsWith(",") ? text : `${text} `;
    this.input.value = this.input.value.slice(0, start) + put + after;
    this.input.setSelectionRange(start + put.length, start + put.length);
    this.input.dispatchEvent(new Event("change", { bubbles: true }));
    this.close();
    if (goesOn) this.ask();
  }

  onKey(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const open = !this.list.hidden;
    const last = this.found.options.length - 1;
    if (event.key === "ArrowDown" && !open) {
      event.preventDefault();
      this.ask();
    } else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const next = this.at + step;
      this.choose(next > last ? -1 : next < -1 ? last : next);
    } else if (open && event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    } else if (open && this.at >= 0 && (event.key === "Enter" || event.key === "Tab")) {
      event.preventDefault();
      this.take(this.at);
    }
  }
}

for (const input of document.querySelectorAll("[data-complete]")) new Complete(input);
