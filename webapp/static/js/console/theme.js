// Before the page is painted: the colours that were chosen last, if any. The system's are used otherwise.
(function () {
  "use strict";

  const ORDER = ["system", "light", "dark"];
  const root = document.documentElement;
  let chosen = "system";
  try {
    chosen = localStorage.getItem("console-theme") ?? "system";
  } catch {
    chosen = "system"; // storage is forbidden here
  }
  if (!ORDER.includes(chosen)) chosen = "system";
  apply();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    say(button);
    button.addEventListener("click", () => {
      chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
      apply();
      say(button);
      try {
        localStorage.setItem("console-theme", chosen);
      } catch {
        return; // then it holds for this page
      }
    });
  });

  function apply() {
    if (chosen === "system") delete root.dataset.theme;
    else root.dataset.theme = chosen;
  }

  function say(button) {
    button.lastChild.textContent = { system: "auto", light: "light", dark: "dark" }[chosen];
    button.setAttribute("aria-label", `Theme: ${button.lastChild.textContent}`);
  }
})();
