// Says something to screen readers through the page's two live regions.
export function say(text, urgent = false) {
  const region = document.getElementById(urgent ? "assertive" : "polite");
  // The same words twice are only read twice if the region was empty in between.
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = text; });
}
