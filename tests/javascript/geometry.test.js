// What the map computes.

import assert from "node:assert/strict";
import test from "node:test";

import { Grid, extent, fit, median, ticks, within } from "./build/geometry.js";

const FRAME = { left: 40, top: 10, width: 400, height: 300 };

/** Numbers that look random and are always the same. */
function numbers(n, seed = 1) {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (1103515245 * state + 12345) % 2147483648;
    return state / 2147483648;
  });
}

test("a place in pixels leads back to its data", () => {
  const scale = fit([-3, 5], [2, 4], FRAME);
  for (const [a, b] of [[0, 0], [-3, 2], [5, 4], [1.5, 3.25]]) {
    const [x, y] = scale.toData(...scale.toPixels(a, b));
    assert.ok(Math.abs(x - a) < 1e-9 && Math.abs(y - b) < 1e-9);
  }
  assert.equal(scale.scales[0], scale.scales[1]);
});

test("all data lie within the frame, also where all are alike", () => {
  for (const [x, y] of [[[-3, 5], [2, 4]], [[1, 1], [1, 1]], [[0], [7]]]) {
    const scale = fit(x, y, FRAME);
    x.forEach((a, k) => {
      const [px, py] = scale.toPixels(a, y[k]);
      assert.ok(px >= 40 && px <= 440 && py >= 10 && py <= 310);
    });
  }
});

test("the nearest point is the nearest", () => {
  const [px, py] = [numbers(500).map((v) => 400 * v), numbers(500, 7).map((v) => 300 * v)];
  const grid = new Grid(px, py);
  for (let k = 0; k < 60; k += 1) {
    const [x, y] = [400 * numbers(60, 3)[k], 300 * numbers(60, 5)[k]];
    const far = Array.from(px, (a, i) => Math.hypot(a - x, py[i] - y));
    const least = Math.min(...far);
    const found = grid.nearest(x, y, 16);
    if (least <= 16) assert.ok(Math.abs(far[found] - least) < 1e-9);
    else assert.equal(found, -1);
  }
});

test("arrow keys go in their direction", () => {
  const grid = new Grid(Float32Array.of(100, 150, 60, 100), Float32Array.of(100, 105, 100, 40));
  assert.equal(grid.towards(0, 1, 0), 1);
  assert.equal(grid.towards(0, -1, 0), 2);
  assert.equal(grid.towards(0, 0, -1), 3);
  assert.equal(grid.towards(0, 0, 1), -1);
});

test("the points within a line", () => {
  const square = [[0, 0], [10, 0], [10, 10], [0, 10]];
  assert.deepEqual(within(square, [5, 15, 5, -1], [5, 5, 11, 5]), [0]);
});

test("ticks are round and within their ends", () => {
  for (const [low, high, most] of [[0, 1, 5], [-23.7, -19.2, 4], [3, 3.001, 6], [-1e6, 1e6, 7]]) {
    const found = ticks(low, high, most);
    assert.ok(found.length >= 1 && found.length <= most + 1, `${low} ${high}: ${found}`);
    assert.ok(found.every((t) => t >= low - 1e-6 * (high - low) && t <= high + 1e-6 * (high - low)));
  }
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
});

test("extents leave out what is no number", () => {
  assert.deepEqual(extent([NaN, 2, -1, NaN]), [-1, 2]);
  assert.deepEqual(extent([]), [0, 1]);
  assert.equal(median([3, 1, 2]), 2);
});
