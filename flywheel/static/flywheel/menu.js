// Open menus (details[data-menu]) close with Escape and with a click elsewhere; the focus goes back to the summary unless
// the click took it somewhere. While one is open it has the keyboard: no page's key acts on what lies behind it.
const open = () => [...document.querySelectorAll("details[data-menu][open]")];

function shut(menu) {
  const focused = document.activeElement ?? document.body;
  // What Tab does not reach (the page, its main part) gets the focus of a click on nothing in particular.
  const giveBack = menu.contains(focused) || focused.tabIndex < 0;
  menu.open = false;
  if (giveBack) menu.querySelector("summary").focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  const menus = open();
  if (!menus.length) return;
  // Pages listen on the document too, and were loaded later.
  event.stopImmediatePropagation();
  if (event.key === "Escape") menus.forEach(shut);
});
document.addEventListener("click", (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) shut(menu);
});
