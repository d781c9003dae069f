// Numbers as words, the places of pixels, and colors.

import assert from "node:assert/strict";
import test from "node:test";

import { floats, nats, number, plusMinus } from "./build/dom.js";
import { classColor, parts, scaleColor } from "./build/palette.js";

test("a mean is given to the place of its error's second digit", () => {
  assert.equal(plusMinus(-85.3217, 0.4123), "−85.32 ± 0.41");
  assert.equal(plusMinus(12345.6, 87.1), "12346 ± 87");
  assert.equal(plusMinus(0.5, null), "0.50");
  assert.equal(plusMinus(1, NaN), "1.00");
});

test("numbers have four digits and all before the point", () => {
  assert.equal(number(123456.7), "123,457");
  assert.equal(number(-0.51234), "−0.5123");
  assert.equal(number(0), "0");
  assert.equal(number(NaN), "–");
  assert.equal(number(null), "–");
});

test("few nats have a third decimal", () => {
  assert.equal(nats(0.0127), "0.013");
  assert.equal(nats(0.0961), "0.10");
  assert.equal(nats(2.301), "2.30");
  assert.equal(nats(0), "0.000");
});

test("numbers come back from their bytes", () => {
  const bytes = Buffer.from(Float32Array.of(1.5, -2, NaN).buffer).toString("base64");
  assert.deepEqual([...floats(bytes)], [1.5, -2, NaN]);
});

test("the colors of twenty classes differ", () => {
  const found = new Set(Array.from({ length: 20 }, (_, k) => classColor(k)));
  assert.equal(found.size, 20);
  assert.deepEqual(parts("#ff8000"), [255, 128, 0]);
});

test("the scale goes from dark to light, and what is no number is grey", () => {
  const light = (share) => scaleColor(share).reduce((sum, part) => sum + part, 0);
  assert.ok(light(0) < light(0.5) && light(0.5) < light(1));
  assert.deepEqual(scaleColor(NaN), [150, 150, 150]);
  assert.deepEqual(scaleColor(7), scaleColor(1));
});
