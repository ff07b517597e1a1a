// The reader's theme, before anything is painted: a dark page must not be white first. A script of its own, which waits for nothing.

try {
  document.documentElement.dataset.theme = localStorage.getItem("bers:theme") || "system";
} catch {
  // Where storage is forbidden there is nothing to be remembered.
}

export {};
