/** Light or dark: as the system has it, until the person says otherwise. */
import { recall, remember } from "./memory.js";

const KEY = "sluice-theme";

/** Applies what was chosen earlier. */
export function restoreTheme() {
  const stored = recall(KEY);
  if (stored) document.documentElement.dataset.theme = stored;
}

/** @returns {"light" | "dark"} the other one from now on */
export function toggleTheme() {
  const root = document.documentElement;
  const present = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const theme = present === "dark" ? "light" : "dark";
  root.dataset.theme = theme;
  remember(KEY, theme);
  return theme;
}
