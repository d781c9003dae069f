// What a map computes: its scale, the nearest point, points within a line, ticks, medians.

/**
 * The way from data to pixels with one scale for both axes.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @param {{left: number, top: number, width: number, height: number}} frame
 * @param {boolean} [equal] One unit is as long across as up.
 */
export function fit(x, y, frame, equal = true) {
  const [left, right] = extent(x);
  const [bottom, top] = extent(y);
  const widest = [Math.max(right - left, 1e-9), Math.max(top - bottom, 1e-9)];
  let scales = [frame.width / (1.06 * widest[0]), frame.height / (1.06 * widest[1])];
  if (equal) scales = [Math.min(...scales), Math.min(...scales)];
  const middle = [(left + right) / 2, (bottom + top) / 2];
  const center = [frame.left + frame.width / 2, frame.top + frame.height / 2];
  return {
    scales,
    /** @param {number} a @param {number} b @returns {[number, number]} */
    toPixels: (a, b) => [center[0] + (a - middle[0]) * scales[0], center[1] - (b - middle[1]) * scales[1]],
    /** @param {number} px @param {number} py @returns {[number, number]} */
    toData: (px, py) => [middle[0] + (px - center[0]) / scales[0], middle[1] - (py - center[1]) / scales[1]],
  };
}

/** The least and the greatest number; 0 and 1 if there is none. @param {ArrayLike<number>} values @returns {[number, number]} */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return low <= high ? [low, high] : [0, 1];
}

/** Round numbers between two ends. @param {number} low @param {number} high @param {number} most */
export function ticks(low, high, most) {
  const span = Math.max(high - low, 1e-12);
  const rough = span / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => span / size <= most) ?? 10 * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/** Points in squares of so many pixels, for a quick search of the nearest. */
export class Grid {
  /** @param {Float32Array} px @param {Float32Array} py @param {number} [size] */
  constructor(px, py, size = 16) {
    this.px = px;
    this.py = py;
    this.size = size;
    /** @type {Map<number, number[]>} */
    this.cells = new Map();
    for (let i = 0; i < px.length; i += 1) {
      const key = this.key(Math.floor(px[i] / size), Math.floor(py[i] / size));
      const cell = this.cells.get(key);
      if (cell) cell.push(i);
      else this.cells.set(key, [i]);
    }
  }

  key(a, b) {
    return a * 65536 + b;
  }

  /** The point nearest to a place, −1 if none is within so many pixels. @param {number} x @param {number} y @param {number} within */
  nearest(x, y, within) {
    const around = Math.ceil(within / this.size);
    const [a, b] = [Math.floor(x / this.size), Math.floor(y / this.size)];
    let best = -1;
    let least = within * within;
    for (let i = a - around; i <= a + around; i += 1)
      for (let j = b - around; j <= b + around; j += 1)
        for (const k of this.cells.get(this.key(i, j)) ?? []) {
          const far = (this.px[k] - x) ** 2 + (this.py[k] - y) ** 2;
          if (far <= least) [best, least] = [k, far];
        }
    return best;
  }

  /** The nearest point in a direction from another, −1 if there is none. @param {number} from @param {number} dx @param {number} dy */
  towards(from, dx, dy) {
    let best = -1;
    let least = Infinity;
    for (let k = 0; k < this.px.length; k += 1) {
      const [a, b] = [this.px[k] - this.px[from], this.py[k] - this.py[from]];
      const along = a * dx + b * dy;
      const across = Math.abs(a * dy - b * dx);
      const far = along + 2 * across;
      if (along > 3 && across <= along && far < least) [best, least] = [k, far];
    }
    return best;
  }
}

/** The points within a closed line. @param {[number, number][]} line @param {ArrayLike<number>} px @param {ArrayLike<number>} py */
export function within(line, px, py) {
  const found = [];
  const [left, right] = extent(line.map((corner) => corner[0]));
  const [top, bottom] = extent(line.map((corner) => corner[1]));
  for (let k = 0; k < px.length; k += 1) {
    if (px[k] < left || px[k] > right || py[k] < top || py[k] > bottom) continue;
    let inside = false;
    for (let i = 0, j = line.length - 1; i < line.length; j = i, i += 1) {
      const [[xi, yi], [xj, yj]] = [line[i], line[j]];
      if (yi > py[k] !== yj > py[k] && px[k] < ((xj - xi) * (py[k] - yi)) / (yj - yi) + xi) inside = !inside;
    }
    if (inside) found.push(k);
  }
  return found;
}

/** The median of numbers. @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
