// What the model is given, to be chosen: a class, a number, or a text.

import { h } from "./dom.js";
import { give, state } from "./state.js";

/** Controls of the context; null for a model that isn't given any. */
export function givenControls() {
  const fields = state.about.given ?? [];
  if (!fields.length) return null;
  return h("div", { class: "controls given" }, h("span", { class: "muted" }, "given"), fields.map((field, k) => control(field, (value) => give(state.given.map((old, i) => (i === k ? value : old))), state.given[k])));
}

function control(field, use, value) {
  if (field.kind === "classes") {
    const select = h("select", { onchange: () => use(Number(select.value)) }, field.classes.map((name, k) => h("option", { value: k, selected: k === value }, name)));
    return h("label", {}, `${field.name} `, select);
  }
  if (field.kind === "number") {
    const input = h("input", { type: "number", step: "any", value, oninput: () => input.value !== "" && use(Number(input.value)) });
    return h("label", {}, `${field.name} `, input);
  }
  if (field.kind === "text") {
    const area = h("textarea", { rows: 3, oninput: () => use(area.value) });
    area.value = value;
    return h("label", { class: "grows" }, "what was said before ", area);
  }
  return h("span", {}, `${field.name} ${field.value ?? "missing"}`);
}
