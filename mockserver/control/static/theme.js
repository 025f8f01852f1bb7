// Apply the theme chosen in this browser before the page is drawn. The default is the system's theme.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";
} catch {
  // The browser does not allow storage.
}
