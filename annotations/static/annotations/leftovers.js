// Drafts of items that the page does not hold: their place was lost. Says what became of each, by the server's
// word, and shows what was typed, to be copied, taken up again or thrown away.
import { say } from "../flywheel/live.js";
import * as drafts from "./drafts.js";

export async function look(user, page) {
  const box = document.getElementById("drafts");
  const here = new Set([...document.querySelectorAll("[data-judgement] [name=item]")].map((field) => field.value));
  const kept = Object.entries(drafts.of(user, page.dataset.queue)).filter(([item]) => !here.has(item));
  if (!kept.length) return;
  const asked = new URLSearchParams(kept.map(([item, draft]) => ["draft", `${item}:${draft.key}`]));
  let response;
  try {
    response = await fetch(`${page.dataset.drafts}?${asked}`, { headers: { "HX-Request": "true" } });
  } catch {
    return; // They are kept, and told at the next load.
  }
  if (!response.ok) return;
  htmx.swap("#drafts", await response.text(), { swapStyle: "innerHTML", swapDelay: 0, settleDelay: 0 });
  const typed = Object.fromEntries(kept);
  for (const entry of box.querySelectorAll("[data-draft]")) {
    entry.querySelector(".kept").textContent = drafts.words(typed[entry.dataset.draft]);
  }
  const title = box.querySelector("h2");
  if (title) say(title.textContent);
  box.addEventListener("click", (event) => {
    const button = event.target.closest("[data-forget]");
    if (!button) return;
    drafts.forget(user, button.dataset.forget);
    button.closest("[data-draft]").remove();
    say("Thrown away");
    if (box.querySelector("[data-draft]")) title.focus();
    else {
      box.replaceChildren();
      document.querySelector("#stage h2")?.focus({ preventScroll: true });
    }
  });
}
