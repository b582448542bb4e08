// Shows a button that copies the join link. The page works without it.
for (const button of document.querySelectorAll('button[data-copy]')) {
  const link = document.getElementById(button.dataset.copy);
  const said = button.nextElementSibling;
  if (!link || !said) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(link.textContent);
      said.textContent = 'Copied';
    } catch {
      // Without a clipboard (plain http): select the link, so that one key copies it.
      getSelection().selectAllChildren(link);
      said.textContent = document.execCommand?.('copy') ? 'Copied' : 'Selected: press Ctrl+C';
    }
  });
}
