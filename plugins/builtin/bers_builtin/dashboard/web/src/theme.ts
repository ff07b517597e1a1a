// Light and dark: as the reader's system says, until the reader says otherwise.

import { byId, show } from "./dom";

const NEXT = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT;

export function theme(): void {
  const button = byId("theme");
  button.hidden = false;
  apply(kept());
  button.addEventListener("click", () => {
    const next = NEXT[kept()];
    localStorage.setItem("bers:theme", next);
    apply(next);
    document.dispatchEvent(new Event("bers:theme"));
  });
}

function kept(): Theme {
  const said = localStorage.getItem("bers:theme");
  return said === "light" || said === "dark" ? said : "system";
}

function apply(name: Theme): void {
  document.documentElement.dataset.theme = name;
  show(byId("theme"), `Theme: ${name}`);
}
