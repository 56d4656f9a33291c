/* Copies a text shown once. Without this script its button stays hidden, and one selects the text. */
for (const button of document.querySelectorAll("[data-copy]")) {
  const text = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      // Without https a page has no clipboard: the older way copies what is selected.
      getSelection().selectAllChildren(text);
      if (!document.execCommand("copy")) return;
    }
    button.parentElement.querySelector("[role=status]").textContent = button.dataset.done;
  });
}
