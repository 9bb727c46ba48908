// "/" or Ctrl-K puts the cursor into the search box. Dead while typing.
const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

document.addEventListener("keydown", (event) => {
  const box = document.getElementById("search");
  if (!box || event.isComposing || event.repeat || event.altKey) return;
  const slash = event.key === "/" && !event.ctrlKey && !event.metaKey && !typing(event.target);
  const command = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
  if (!slash && !command) return;
  event.preventDefault();
  box.focus();
  box.select();
});
