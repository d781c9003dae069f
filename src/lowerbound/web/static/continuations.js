// Sample, of sequences and texts: five different continuations of a beginning, each with its log p.

import { h } from "./dom.js";
import { continuationsView, newSequences } from "./sequence_views.js";
import { ask, latest, reason, within } from "./api.js";
import { givenControls } from "./given.js";
import { given, on, state } from "./state.js";

export const id = "sample";
export const key = "continuations";
export const title = "Sample";
export const needs = (about) => about.has.samples;
export const caption = () => "";

const WAIT = 250; // milliseconds without a key until what was typed is continued
const PROMPT = 40; // steps that are given at first

export function make() {
  const { about } = state;
  const shown = h("div", { class: "drawn", "aria-live": "polite" }, h("p", { class: "empty" }, "drawing …"));
  let seed = 0;
  const draw = latest("continue", (found) => shown.replaceChildren(continuationsView({ ...found, context: null })), (error) => shown.replaceChildren(reason(error)));
  const asked = about.kind === "text" ? textControls(() => later()) : stepControls(() => later());
  const update = () => draw({ ...asked.body(), ...given(), seed });
  const later = debounced(update);
  const again = h("button", { type: "button", onclick: () => {
    seed = Math.floor(Math.random() * 2 ** 31);
    update();
  } }, "draw again");
  on("given", later);
  on("row", () => within(shown, async () => {
    if (state.row === null) return;
    asked.start?.(await ask("row", { rows: [state.row] }));
    update();
  }));
  const begin = async () => {
    if (asked.start && (about.n_points || about.n_seen) && (state.row !== null || about.kind === "text")) asked.start(await ask("row", { rows: [state.row ?? 0] }));
    update();
  };
  within(shown, begin);
  return { element: h("div", {}, givenControls(), asked.element, h("div", { class: "buttons" }, again), shown, wholeOnes(about)) };
}

/** A function that is called when there was no other call for a while. */
function debounced(work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, WAIT);
  };
}

/** New ones, from no beginning, when they are asked for. */
function wholeOnes(about) {
  const list = h("div", {});
  return h("details", { class: "apart", ontoggle: async (event) => {
    if (!event.currentTarget.open || list.childElementCount) return;
    list.replaceChildren(h("p", { class: "muted" }, "drawing …"));
    within(list, async () => list.replaceChildren(newSequences(await ask("samples", { n: about.kind === "text" ? 12 : 4 }))));
  } }, h("summary", {}, about.kind === "text" ? "new texts" : "new sequences"), list);
}

function textControls(update) {
  const prompt = h("input", { type: "text", class: "wide-input", oninput: update, autocomplete: "off" });
  const temperature = slider("temperature", 0, 2, 0.05, 1, update);
  const top = slider("top p", 0.05, 1, 0.05, 1, update);
  return {
    element: h("div", {}, h("label", { class: "prompt" }, h("span", {}, "the beginning"), prompt), h("div", { class: "sliders" }, temperature.element, top.element)),
    body: () => ({ prompt: prompt.value, temperature: temperature.value(), top_p: top.value() }),
    start: (found) => {
      prompt.value = found.shown.text.slice(0, Math.ceil(found.shown.text.length / 3));
    },
  };
}

function stepControls(update) {
  const { about } = state;
  const drawn = slider("steps that are drawn", 1, 200, 1, Math.min(24, Math.max(1, about.mean_length)), update);
  if (!about.lengths?.length) return { element: h("div", { class: "sliders" }, about.ends ? null : drawn.element), body: () => ({ n_steps: drawn.value() }) };
  let sequence = 0;
  const length = () => about.lengths[sequence];
  const prompt = slider("steps that are given", 0, length(), 1, Math.min(PROMPT, Math.floor(length() / 2)), update);
  const which = sequenceChoice(about, (value) => {
    sequence = value;
    prompt.limit(length());
    update();
  });
  return {
    element: h("div", { class: "sliders" }, which.element, prompt.element, about.ends ? null : drawn.element),
    body: () => ({ sequence, n_prompt: prompt.value(), n_steps: drawn.value() }),
    start: (found) => {
      sequence = found.sequence;
      which.set(sequence);
      prompt.limit(length());
      prompt.set(found.step + 1);
    },
  };
}

/** A slider with its value; "limit" changes its end. */
export function slider(name, low, high, step, value, update) {
  const output = h("output", {}, value);
  const input = h("input", { type: "range", min: low, max: high, step, value, oninput: () => {
    output.textContent = input.value;
    update();
  } });
  const show = (now) => {
    input.value = now;
    output.textContent = input.value;
  };
  const limit = (end) => {
    input.max = end;
    show(Math.min(Number(input.value), end));
  };
  return { element: h("label", { class: "slider" }, h("span", {}, name), input, output), value: () => Number(input.value), set: show, limit };
}

/** A choice of a sequence by its name. */
export function sequenceChoice(about, use) {
  const select = h("select", { onchange: () => use(Number(select.value)) }, about.names.map((name, k) => h("option", { value: k }, `${name} (${about.lengths[k]} steps)`)));
  const set = (value) => {
    select.value = String(value);
  };
  return { element: h("label", { class: "slider" }, h("span", {}, "sequence"), select, h("span", {})), set };
}
