// Two views of one answer, "how sure" and "as written": H or a click switches without asking the server again.
// The address keeps the choice, so a copied link shows the same.
const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

function show(view) {
  for (const box of document.querySelectorAll("[data-views]")) {
    box.dataset.views = view;
    for (const part of box.querySelectorAll("[data-shown]")) part.hidden = part.dataset.shown !== view;
    for (const link of box.querySelectorAll("[data-view]")) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
  const address = new URL(location.href);
  address.searchParams.set("view", view);
  history.replaceState(history.state, "", address);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-view]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  show(link.dataset.view);
});
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "h" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const box = document.querySelector("[data-views]");
  if (box && !typing(event.target)) show(box.dataset.views === "heat" ? "text" : "heat");
});
