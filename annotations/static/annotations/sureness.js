// "How sure was the model?" opens the heat map in the answer's place, and the answer again. Fetched on request:
// the server notes that it was seen.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-sure]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const section = link.closest("section");
  const box = section.querySelector("[data-sure-box]");
  const answer = section.querySelector("[data-answer]");
  if (!box.childElementCount) {
    try {
      const response = await fetch(link.href, { headers: { "HX-Request": "true" } });
      if (!response.ok) throw new Error(String(response.status));
      // Not through htmx.swap: with allowScriptTags off it would drop the block of JSON that the map reads.
      box.innerHTML = await response.text();
      document.dispatchEvent(new CustomEvent("htmx:load", { detail: { elt: box } }));
    } catch {
      link.firstChild.textContent = "Not fetched: no connection. Try again ";
      return;
    }
  }
  box.hidden = !box.hidden;
  answer.hidden = !box.hidden && !box.querySelector(".heat-missing");
  link.firstChild.textContent = box.hidden ? "How sure was the model? " : "The plain answer ";
});
