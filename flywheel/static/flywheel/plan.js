// A plan beside its form is of what the form said when the plan was drawn: after an edit its button waits for
// the plan to be drawn anew (htmx does that), so that nothing is begun that was not shown.
document.addEventListener("input", (event) => {
  if (!event.target.closest(".plan-form")) return;
  for (const button of document.querySelectorAll("#plan form[data-press] button")) button.disabled = true;
});
