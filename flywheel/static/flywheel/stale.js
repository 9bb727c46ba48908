// A fragment whose request failed keeps its old content, dimmed, and says since when it is not fresh.
// One marked data-quiet only keeps its content.
const clock = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

function mark(element) {
  if (element.classList.contains("stale")) return;
  element.classList.add("stale");
  const note = document.createElement("p");
  note.className = "stale-note";
  const again = document.createElement("button");
  again.type = "button";
  again.className = "button button-quiet";
  again.textContent = "Try again";
  again.addEventListener("click", () => document.body.dispatchEvent(new CustomEvent("tick")));
  note.append(`▲ Not fresh since ${clock()} · `, again);
  element.append(note);
}

function clear(element) {
  element.classList.remove("stale");
  element.querySelectorAll(":scope > .stale-note").forEach((note) => note.remove());
}

document.addEventListener("htmx:afterRequest", (event) => {
  const element = event.detail.elt;
  if (!element.getAttribute?.("hx-trigger")?.includes("tick") || "quiet" in element.dataset) return;
  if (event.detail.successful) clear(element);
  else mark(element);
});
