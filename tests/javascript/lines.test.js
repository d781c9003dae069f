// The lines of sequences.

import assert from "node:assert/strict";
import test from "node:test";

import { strokeOf } from "./build/sequences.js";

const across = (k) => 10 * k;
const up = (value) => 100 - value;

test("a line breaks at a gap, and a value alone is a short stroke", () => {
  assert.equal(strokeOf([1, 2, null, 4], 0, across, up, false), "M0.0 99.0L10.0 98.0M28.5 96.0h3");
});

test("a line that starts later stands further to the right", () => {
  assert.equal(strokeOf([1, 2], 5, across, up, false), "M50.0 99.0L60.0 98.0");
});

test("classes are stairs", () => {
  assert.equal(strokeOf([0, 2], 0, across, up, true), "M0.0 100.0H10.0V98.0");
});

test("nothing is drawn of gaps alone", () => {
  assert.equal(strokeOf([null, null], 0, across, up, false), "");
});
