// Elements, numbers and text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element of HTML.
 * @param {string} tag
 * @param {Record<string, any>} [attributes] Those that begin with "on" are listeners; null, undefined and false are left out.
 * @param {...any} children Elements, text, or lists of them.
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/**
 * Make an element of SVG.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") styled(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Properties of style, those of one's own ("--share") too. */
function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.style[name] = value;
  }
}

/**
 * The numbers in the text of their bytes: float32, little end first, in base 64.
 * @param {string} text
 * @returns {Float32Array}
 */
export function floats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/**
 * A number with so many significant digits, thousands apart, and a real minus sign.
 * @param {number | null} value
 * @param {number} [digits]
 */
export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const rounded = size >= 10 ** digits ? value.toFixed(0) : Number(value.toPrecision(digits)).toString();
  const [whole, rest] = rounded.split(".");
  const grouped = size >= 10000 && !rounded.includes("e") ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return (rest === undefined ? grouped : `${grouped}.${rest}`).replace("-", "−");
}

/** Nats with two decimals, three where they are few. @param {number} value */
export function nats(value) {
  return value.toFixed(Math.abs(value) < 0.095 ? 3 : 2).replace("-", "−");
}

/** A whole number, thousands apart. @param {number} value */
export function count(value) {
  return value.toLocaleString("en-US");
}

/**
 * A mean with its standard error: the error with two significant digits, the mean to the same place.
 * @param {number} mean
 * @param {number | null} error
 */
export function plusMinus(mean, error) {
  const known = error !== null && Number.isFinite(error) && error > 0;
  const decimals = known ? Math.max(0, 1 - Math.floor(Math.log10(error))) : 2;
  const text = mean.toFixed(decimals).replace("-", "−");
  return known ? `${text} ± ${error.toFixed(decimals)}` : text;
}

/** A group of radio buttons that look like one control.
 * @param {string} legend
 * @param {[string, string][]} choices Value and words.
 * @param {string} chosen
 * @param {(value: string) => void} onchange
 */
export function choice(legend, choices, chosen, onchange) {
  const name = `choice-${(choice.counter += 1)}`;
  const buttons = choices.map(([value, words]) =>
    h("label", {}, h("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) }), h("span", {}, words)),
  );
  return h("fieldset", { class: "choice" }, h("legend", {}, legend), h("div", {}, buttons));
}
choice.counter = 0;

/** Words that a screen reader says. @param {string} words */
export function announce(words) {
  let region = document.getElementById("announcements");
  if (!region) {
    region = h("div", { id: "announcements", class: "unseen", role: "status", "aria-live": "polite" });
    (document.querySelector("main") ?? document.body).append(region);
  }
  region.textContent = words;
}
