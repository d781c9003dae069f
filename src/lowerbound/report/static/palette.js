// Colors: of classes, of numbers, and those of the page. They can be told apart with the common color blindnesses.

// Petroff (2021), arXiv:2107.02270, ten colors in an order of rising likeness; then the same, lighter
const CLASSES = [
  "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
  "#1f5f9e", "#c47d00", "#e8685a", "#5f6e6c", "#b47bd8", "#6e4034", "#ff9d57", "#85793d", "#a3a7b1", "#4fa7ab", "#777777",
];

// viridis without its ends, which vanish on white and on black
const SCALE = [
  [68, 57, 131], [57, 86, 140], [46, 111, 142], [37, 133, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44],
];

/** The color of a class. @param {number} index */
export function classColor(index) {
  return CLASSES[index % CLASSES.length];
}

/** The color of a number from 0 to 1; null for none. @param {number} share @returns {[number, number, number]} */
export function scaleColor(share) {
  if (!Number.isFinite(share)) return [150, 150, 150];
  const place = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const below = Math.min(Math.floor(place), SCALE.length - 2);
  const rest = place - below;
  const [a, b] = [SCALE[below], SCALE[below + 1]];
  const between = (k) => Math.round(a[k] + rest * (b[k] - a[k]));
  return [between(0), between(1), between(2)];
}

/** The parts of a color "#rrggbb". @param {string} color @returns {[number, number, number]} */
export function parts(color) {
  const value = parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A color of the page: "ink", "muted", "line", "accent", "paper". @param {string} name */
export function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Call a function whenever the page turns light or dark, or is printed. @param {() => void} redraw */
export function onTheme(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("themechange", redraw);
}

/** Print in light colors, whatever the screen has. */
export function printLight() {
  const root = document.documentElement;
  let before = root.dataset.theme;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    dispatchEvent(new Event("themechange"));
    root.dataset.printing = "yes"; // what is drawn stays, whatever the size of the paper
  });
  addEventListener("afterprint", () => {
    delete root.dataset.printing;
    if (before === undefined) delete root.dataset.theme;
    else root.dataset.theme = before;
    dispatchEvent(new Event("themechange"));
  });
}
