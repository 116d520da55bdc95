/** Light or dark: as the system has it, until the person says otherwise. */

const KEY = "sluice-theme";

/** Applies what was chosen earlier. */
export function restoreTheme() {
  const stored = read();
  if (stored) document.documentElement.dataset.theme = stored;
}

/** @returns {"light" | "dark"} the other one from now on */
export function toggleTheme() {
  const root = document.documentElement;
  const present = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const theme = present === "dark" ? "light" : "dark";
  root.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {} // a private window may refuse: then it is for this visit only
  return theme;
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
