// The theme that was chosen in this browser, before anything is drawn. Without a choice the system's applies.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";
} catch {
  // The browser keeps nothing for pages.
}
