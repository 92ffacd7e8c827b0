// Before anything is drawn: the theme that was chosen here, if any; else the system's.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("workflow-theme"); } catch { /* storage is off: the system's */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("scripted");
})();
