// Light or dark: as the system has it, until the button says otherwise. Nothing is stored.

import { icon } from "./dom.js";

export function theme() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let dark = system.matches;

  function show() {
    button.replaceChildren(icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-pressed", String(dark));
    button.title = dark ? "Light theme" : "Dark theme";
  }

  button.addEventListener("click", () => {
    dark = !dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    show();
  });
  system.addEventListener("change", () => {
    if (document.documentElement.dataset.theme) return;
    dark = system.matches;
    show();
  });
  show();
}
