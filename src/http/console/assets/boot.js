// Loads the application after the first frame, because modules that arrive together with the style sheet delay it.

const MODULES = ["api", "dom", "event", "log", "page-overview", "plot", "time", "ui", "uplot", "words"];

function load() {
  // At once: an import alone finds the imports of a module when that has arrived.
  for (const name of MODULES) {
    const link = document.createElement("link");
    [link.rel, link.href] = ["modulepreload", `/console/${name}.js`];
    document.head.append(link);
  }
  import("./app.js").catch((error) => {
    document.getElementById("main").textContent = `The console cannot be loaded: ${error.message}. Reload the page when the server can be reached.`;
  });
}

// A page that is not shown has no frames. The secret of a link is to leave the address bar at once.
if (document.hidden || location.hash.startsWith("#kfl_")) load();
else requestAnimationFrame(() => setTimeout(load));
