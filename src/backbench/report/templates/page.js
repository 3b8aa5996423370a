// A press copies; where the browser does not allow that, the text is marked for the reader to copy.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Marked: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
}
// Paper cannot be unfolded. The numbers behind a plot may be many: they are printed where the reader has opened them.
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.choice, .plot *)")) fold.open = true;
});
