// J and K lead along the list that an exchange was opened from, down and up, and keep the view that was chosen.
const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;
const ways = { j: "next", k: "prev" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
  const way = Object.hasOwn(ways, event.key) ? document.querySelector(`.along [rel=${ways[event.key]}]`) : null;
  if (!way) return;
  const address = new URL(way.href);
  const view = new URL(location.href).searchParams.get("view");
  if (view) address.searchParams.set("view", view);
  location.assign(address);
});
