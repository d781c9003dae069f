// Sample: sliders for the latent variables, and what the decoder makes of them, live.

import { announce, choice, h, number } from "./dom.js";
import { density } from "./charts.js";
import { cell, livePicture, nameOfColumn } from "./rows.js";
import { ask, latest, reason, within } from "./api.js";
import { givenControls } from "./given.js";
import { given, on, state } from "./state.js";

export const id = "sample";
export const title = "Sample";
export const needs = (about) => about.has.decode;
export const caption = () => "Move along the latent variables, the one that tells most first, and see what the model makes of it.";

const FAR = 4; // a slider's end, in deviations of N(0, I)

export function make() {
  const { about } = state;
  const n = about.latent_dim;
  let z = new Array(n).fill(0);
  let draw = false;
  let seed = 0;
  const pins = { A: null, B: null };
  const shown = h("div", { class: "made" });
  const image = about.kind === "image" ? livePicture("the decoder's picture of the sliders") : null;
  const decode = latest("decode", async (answer) => {
    const made = answer.shown[0];
    if (image) await image.show(made);
    shown.replaceChildren(image ? image.element : densityTable(made, answer.densities ?? [], about.columns));
    performance.mark("decoded");
  }, (error) => shown.replaceChildren(reason(error)));
  const update = () => decode({ z: [z], draw, seed, densities: about.kind === "table", ...given() });

  const sliders = about.order.map((d) => slider(d));
  const byDimension = new Map(sliders.map((each) => [each.d, each]));
  function slider(d) {
    const output = h("output", {}, "0");
    const words = h("span", {}, about.dimension_names[d]);
    const input = h("input", { type: "range", min: -FAR, max: FAR, step: 0.01, value: 0, oninput: () => {
      z[d] = Number(input.value);
      output.textContent = number(z[d], 3);
      update();
    } });
    return { d, set: (value) => {
      input.value = value;
      output.textContent = number(value, 3);
    }, element: h("label", { class: "slider" }, words, input, output) };
  }
  const put = (code) => {
    z = code.map(Number);
    z.forEach((value, d) => byDimension.get(d).set(value));
    update();
  };

  const active = sliders.filter((each) => about.active[each.d]);
  const collapsed = sliders.filter((each) => !about.active[each.d]);
  const first = active.length ? active : sliders;
  const folded = active.length && collapsed.length ? h("details", {}, h("summary", {}, `${collapsed.length} collapsed`), collapsed.map((each) => each.element)) : null;
  const none = active.length ? null : h("p", { class: "note" }, "No latent variable is active: moving them changes nothing (posterior collapse). Train longer, warm the KL up with ELBO(warmup_steps=…), or set free_bits=0.1.");

  const blend = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, disabled: true, oninput: () => put(pins.A.map((a, d) => a + Number(blend.value) * (pins.B[d] - a))) });
  const pin = (name) => h("button", { type: "button", onclick: (event) => {
    pins[name] = [...z];
    event.currentTarget.classList.add("pinned");
    blend.disabled = !(pins.A && pins.B);
    announce(`pinned ${name}`);
  } }, `pin ${name}`);
  const button = (words, onclick) => h("button", { type: "button", onclick }, words);
  const copy = async (text, words) => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = `copied ${words}`;
    } catch {
      said.textContent = text;
    }
  };
  const code = () => `[${z.map((value) => Number(value.toFixed(4))).join(", ")}]`;
  const said = h("p", { class: "muted", role: "status" });
  const save = () => image?.element.dataset.uri && h("a", { href: image.element.dataset.uri, download: "sample.png" }).click();
  const another = () => within(shown, async () => {
    seed = Math.floor(Math.random() * 2 ** 31);
    put((await ask("prior", { seed, ...given() })).z);
  });
  const controls = h("div", { class: "buttons" }, button("new z from the prior", another), button("to the middle", () => put(new Array(n).fill(0))), pin("A"), pin("B"), h("label", { class: "slider blend" }, h("span", {}, "A to B"), blend, h("span", {})),
    button("copy z", () => copy(code(), "z")), button("copy Python", () => copy(pythonLine(code(), draw), "the line of Python")), about.kind === "image" ? button("save PNG", save) : null);
  const kind = choice("show", [["mean", "mean E[x|z]"], ["draw", "a draw of x"]], "mean", (value) => {
    draw = value === "draw";
    seed += 1;
    update();
  });
  on("given", update);
  const follow = () => within(shown, async () => {
    const { row } = state;
    if (row === null) return;
    const found = await ask("row", { rows: [row] });
    if (found.code && row === state.row) put(found.code);
  });
  on("row", follow);
  if (state.row !== null) follow();
  else update();
  return { element: h("div", { class: "two" }, h("div", {}, none, givenControls(), kind, first.map((each) => each.element), folded), h("div", {}, shown, controls, said)) };
}

/** What makes the same in Python. */
function pythonLine(code, draw) {
  const words = (state.about.given ?? []).map((field, k) => [field.name, field.kind === "classes" ? field.classes[state.given[k]] : state.given[k]]);
  const context = words.length ? `, context=pandas.DataFrame(${JSON.stringify([Object.fromEntries(words)])})` : "";
  return `model.decode(${code}${draw ? ", draw=True" : ""}${context})`;
}

/** A row of a table: of each column of numbers the density given z, with a mark at the value. */
function densityTable(values, densities, columns) {
  const lines = values.map((value, j) => {
    const found = densities[j];
    return h("tr", {}, h("th", { scope: "row" }, nameOfColumn(columns[j])), h("td", {}, cell(value)),
      h("td", { class: "low muted" }, found?.low), h("td", {}, found ? density(found.x, found.p) : null), h("td", { class: "muted" }, found?.high));
  });
  return h("table", { class: "record densities" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "column"), h("th", { scope: "col" }, "value"), h("th", { scope: "col", colspan: "3" }, "p(x|z) of the column"))), h("tbody", {}, lines));
}
