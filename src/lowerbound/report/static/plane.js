// The map of codes as it is drawn: axes, points in colors or pictures, the names of classes.

import { h, number } from "./dom.js";
import { classColor, onTheme, parts, scaleColor, themed } from "./palette.js";
import { fit, median, ticks } from "./geometry.js";

const MARGIN = { left: 46, right: 12, top: 12, bottom: 40 };
const FEW = 8000; // points that are drawn as round dots

/**
 * @typedef {object} ScatterOptions
 * @property {string} label What the map shows, for a screen reader.
 * @property {(row: number) => any} [card] The content of the card above a point.
 * @property {(row: number) => string} [words] The same in words.
 * @property {(row: number) => void} [onpick] A point was clicked.
 * @property {(x: number, y: number) => void} [onplace] A place without a point was clicked.
 * @property {(rows: number[]) => void} [onlasso] Points were encircled.
 */

export class Plane {
  /** @param {ScatterOptions} options */
  constructor(options) {
    this.options = options;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { tabindex: "0", role: "img", "aria-label": options.label, "aria-describedby": "map-keys" });
    this.card = h("div", { class: "card", hidden: true });
    this.legend = h("div", { class: "legend" });
    this.element = h("div", { class: "scatter" }, h("div", { class: "plane" }, this.base, this.over, this.card), this.legend);
    this.x = this.y = this.px = this.py = new Float32Array(0);
    this.axes = ["", ""];
    this.current = -1;
    this.isPrior = false;
    /** @type {Set<number>} */
    this.selected = new Set();
    /** @type {number[] | null} */
    this.place = null;
    /** @type {[number, number][] | null} */
    this.line = null;
    this.only = null;
    new ResizeObserver(() => this.draw()).observe(this.element);
    onTheme(() => this.draw());
  }

  /** Show other points. @param {{x: Float32Array, y: Float32Array, axes: string[], is_prior?: boolean}} points */
  show(points) {
    Object.assign(this, { x: points.x, y: points.y, axes: points.axes, isPrior: points.is_prior ?? false, current: -1, place: null });
    this.draw();
  }

  /** Color the points. @param {{name: string, kind: string, values: Float32Array, classes?: string[], low?: number, high?: number}} color */
  paint(color) {
    this.color = color;
    this.only = null;
    this.showLegend();
    this.draw();
  }

  /** Show pictures in place of some of the dots. @param {Map<number, string> | null} pictures */
  showPictures(pictures) {
    this.pictures = pictures;
    this.draw();
  }

  select(rows) {
    this.selected = new Set(rows);
    this.drawOver();
  }

  // drawing

  draw() {
    const plane = /** @type {HTMLElement} */ (this.base.parentElement);
    const [width, height] = [plane.clientWidth, plane.clientHeight];
    if (!width || !height || document.documentElement.dataset.printing) return;
    this.ratio = Math.max(1, window.devicePixelRatio || 1);
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.frame = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.one = this.axes[1] === "";
    this.scale = fit(this.x, this.y, this.frame, !this.one);
    this.project();
    const pen = this.base.getContext("2d", { willReadFrequently: true });
    pen.scale(this.ratio, this.ratio);
    pen.clearRect(0, 0, width, height);
    this.drawAxes(pen);
    if (this.pictures) this.drawPictures(pen);
    else if (this.x.length <= FEW) this.drawDots(pen);
    else this.drawPixels(pen);
    if (this.isPrior && !this.one) this.drawPrior(pen);
    this.drawNames(pen);
    this.drawOver();
  }

  project() {
    const n = this.x.length;
    this.px = new Float32Array(n);
    this.py = new Float32Array(n);
    const [x0, y0] = this.scale.toPixels(0, 0);
    const [a, b] = this.scale.scales;
    for (let i = 0; i < n; i += 1) {
      this.px[i] = x0 + a * this.x[i];
      this.py[i] = y0 - b * this.y[i];
    }
    this.grid = null; // made when it is first asked
  }

  drawAxes(pen) {
    const { left, top, width, height } = this.frame;
    const [low, high] = [this.scale.toData(left, top + height), this.scale.toData(left + width, top)];
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = themed("line");
    pen.fillStyle = themed("muted");
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const t of ticks(low[0], high[0], Math.floor(width / 70))) {
      const [px] = this.scale.toPixels(t, 0);
      pen.beginPath();
      pen.moveTo(Math.round(px) + 0.5, top);
      pen.lineTo(Math.round(px) + 0.5, top + height);
      pen.stroke();
      pen.fillText(number(t), px, top + height + 6);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const t of this.one ? [] : ticks(low[1], high[1], Math.floor(height / 55))) {
      const [, py] = this.scale.toPixels(0, t);
      pen.beginPath();
      pen.moveTo(left, Math.round(py) + 0.5);
      pen.lineTo(left + width, Math.round(py) + 0.5);
      pen.stroke();
      pen.fillText(number(t), left - 6, py);
    }
    pen.fillStyle = themed("ink");
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    pen.fillText(this.axes[0], left + width, top + height + MARGIN.bottom - 2);
    pen.save();
    pen.translate(11, top);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "middle";
    pen.fillText(this.axes[1], 0, 0);
    pen.restore();
  }

  /** Circles that contain 50 % and 95 % of N(0, I): of two dimensions |z|² is exponential. */
  drawPrior(pen) {
    const [cx, cy] = this.scale.toPixels(0, 0);
    pen.save();
    pen.beginPath();
    pen.rect(this.frame.left, this.frame.top, this.frame.width, this.frame.height);
    pen.clip();
    pen.strokeStyle = themed("muted");
    pen.fillStyle = themed("muted");
    pen.setLineDash([3, 4]);
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.font = "11px system-ui, sans-serif";
    for (const share of [0.5, 0.95]) {
      const radius = Math.sqrt(-2 * Math.log(1 - share)) * this.scale.scales[0];
      pen.beginPath();
      pen.arc(cx, cy, radius, 0, 2 * Math.PI);
      pen.stroke();
      pen.setLineDash([]);
      pen.strokeStyle = themed("paper");
      pen.lineWidth = 3;
      pen.strokeText(`${100 * share} % of p(z)`, cx + radius * 0.707 + 3, cy + radius * 0.707 + 1);
      pen.strokeStyle = themed("muted");
      pen.lineWidth = 1;
      pen.setLineDash([3, 4]);
      pen.fillText(`${100 * share} % of p(z)`, cx + radius * 0.707 + 3, cy + radius * 0.707 + 1);
    }
    pen.restore();
  }

  /** The color of a point. @returns {[number, number, number]} */
  colorOf(i) {
    const color = this.color;
    if (!color) return parts(classColor(0));
    const value = color.values[i];
    if (color.kind === "classes") return parts(classColor(value));
    return scaleColor((value - color.low) / Math.max(color.high - color.low, 1e-12));
  }

  isShown(i) {
    return this.only === null || this.color?.values[i] === this.only;
  }

  drawDots(pen) {
    const radius = Math.min(4, Math.max(1.8, 110 / Math.sqrt(this.x.length || 1)));
    /** @type {Map<string, number[]>} */
    const groups = new Map();
    for (let i = 0; i < this.x.length; i += 1) {
      if (!this.isShown(i)) continue;
      const key = this.colorOf(i).join(",");
      const group = groups.get(key);
      if (group) group.push(i);
      else groups.set(key, [i]);
    }
    const parted = [...groups].flatMap(([key, rows]) => chunks(rows, 25).map((part) => [key, part]));
    for (const [key, part] of mixed(parted)) { // in small parts, so that no class covers all others
      pen.fillStyle = `rgba(${key},0.78)`;
      pen.beginPath();
      for (const i of part) {
        pen.moveTo(this.px[i] + radius, this.py[i]);
        pen.arc(this.px[i], this.py[i], radius, 0, 2 * Math.PI);
      }
      pen.fill();
    }
  }

  /** Many points as squares of a few pixels, written to memory. */
  drawPixels(pen) {
    const { width, height } = this.base;
    const image = pen.getImageData(0, 0, width, height);
    const memory = new Uint32Array(image.data.buffer);
    const side = Math.max(1, Math.round(this.ratio * (this.x.length > 40000 ? 1.4 : 2)));
    const color = this.color;
    const numbers = color?.kind === "numbers";
    const low = numbers ? color.low : 0;
    const scale = numbers ? 255 / Math.max(color.high - low, 1e-12) : 1;
    const table = packed(numbers);
    for (let i = 0; i < this.x.length; i += 1) {
      const value = color ? color.values[i] : 0;
      if (this.only !== null && value !== this.only) continue;
      const first = Math.round(this.px[i] * this.ratio) + width * Math.round(this.py[i] * this.ratio);
      if (first < 0 || first + side * width + side > memory.length) continue;
      const ink = value === value ? table[Math.min(255, Math.max(0, Math.round((value - low) * scale)))] : GREY;
      for (let row = first; row < first + side * width; row += width)
        for (let k = row; k < row + side; k += 1) memory[k] = ink;
    }
    pen.putImageData(image, 0, 0);
  }

  drawPictures(pen) {
    const size = 30;
    const taken = new Set();
    for (const [i, picture] of this.pictures) {
      const key = `${Math.floor(this.px[i] / size)},${Math.floor(this.py[i] / size)}`;
      if (taken.has(key) || !this.isShown(i)) continue;
      taken.add(key);
      const image = pictureOf(picture, () => this.redrawSoon());
      if (!image.complete || !image.naturalWidth) continue;
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image, this.px[i] - size / 2, this.py[i] - size / 2, size, size);
      pen.strokeStyle = `rgb(${this.colorOf(i).join(",")})`;
      pen.lineWidth = 1.5;
      pen.strokeRect(this.px[i] - size / 2, this.py[i] - size / 2, size, size);
    }
  }

  redrawSoon() {
    if (this.waiting) return;
    this.waiting = setTimeout(() => {
      this.waiting = null;
      this.draw();
    }, 50);
  }

  /** The names of classes at their medians. */
  drawNames(pen) {
    const color = this.color;
    if (!color || color.kind !== "classes" || this.one || (color.classes?.length ?? 0) > 20) return;
    const placed = [];
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    color.classes.forEach((name, k) => {
      const rows = [];
      for (let i = 0; i < this.x.length; i += 1) if (color.values[i] === k) rows.push(i);
      if (rows.length < 3 || (this.only !== null && this.only !== k)) return;
      pen.font = `600 ${name.length < 4 ? 17 : 12}px system-ui, sans-serif`;
      const wide = pen.measureText(name).width;
      const px = median(rows.map((i) => this.px[i]));
      let py = median(rows.map((i) => this.py[i]));
      while (placed.some((other) => Math.abs(other.px - px) < (other.wide + wide) / 2 + 4 && Math.abs(other.py - py) < 17)) py += 4;
      placed.push({ px, py, wide });
      pen.strokeStyle = themed("paper");
      pen.lineWidth = 4;
      pen.strokeText(name, px, py);
      pen.fillStyle = themed("ink");
      pen.fillText(name, px, py);
    });
  }

  drawOver() {
    const pen = this.over.getContext("2d");
    pen.setTransform(this.ratio ?? 1, 0, 0, this.ratio ?? 1, 0, 0);
    pen.clearRect(0, 0, this.over.width, this.over.height);
    pen.fillStyle = pen.strokeStyle = themed("ink");
    pen.lineWidth = 1.5;
    for (const i of this.selected) {
      pen.beginPath();
      pen.arc(this.px[i], this.py[i], 3, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (this.line) {
      pen.beginPath();
      this.line.forEach(([x, y]) => pen.lineTo(x, y));
      pen.closePath();
      pen.globalAlpha = 0.1;
      pen.fill();
      pen.globalAlpha = 1;
      pen.stroke();
    }
    if (this.place) this.drawCross(pen, this.scale.toPixels(this.place[0], this.place[1]));
    if (this.current >= 0) this.drawRing(pen, this.px[this.current], this.py[this.current]);
  }

  drawCross(pen, [x, y]) {
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x - 8, y);
    pen.lineTo(x + 8, y);
    pen.moveTo(x, y - 8);
    pen.lineTo(x, y + 8);
    pen.stroke();
  }

  drawRing(pen, x, y) {
    pen.lineWidth = 4.5;
    pen.strokeStyle = themed("paper");
    pen.beginPath();
    pen.arc(x, y, 7, 0, 2 * Math.PI);
    pen.stroke();
    pen.lineWidth = 2;
    pen.strokeStyle = themed("ink");
    pen.stroke();
  }

  showLegend() {
    const color = this.color;
    if (color.kind === "classes") {
      const entries = color.classes.map((name, k) =>
        h("button", { type: "button", class: "entry", "aria-pressed": "false", title: "show only these", onclick: (event) => this.toggle(k, event.currentTarget) },
          h("span", { class: "swatch", style: { background: classColor(k) } }), name),
      );
      this.legend.replaceChildren(h("span", { class: "legend-name" }, color.name), ...entries);
      return;
    }
    const steps = Array.from({ length: 9 }, (_, k) => `rgb(${scaleColor(k / 8).join(",")})`);
    this.legend.replaceChildren(
      h("span", { class: "legend-name" }, color.name),
      h("span", {}, number(color.low, 3)),
      h("span", { class: "ramp", style: { background: `linear-gradient(to right, ${steps.join(",")})` } }),
      h("span", {}, number(color.high, 3)),
    );
  }

  /** Show one class alone, or all again. */
  toggle(k, button) {
    this.only = this.only === k ? null : k;
    for (const entry of this.legend.querySelectorAll("button")) entry.setAttribute("aria-pressed", String(entry === button && this.only === k));
    this.draw();
  }
}

const GREY = 0xff969696;

/** The colors of classes, or of 256 numbers, as they lie in memory. @param {boolean} numbers */
function packed(numbers) {
  return Uint32Array.from({ length: 256 }, (_, k) => {
    const [r, g, b] = numbers ? scaleColor(k / 255) : parts(classColor(k));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

const images = new Map();

/** The image of a data URI, loaded once. */
function pictureOf(uri, onload) {
  let image = images.get(uri);
  if (!image) {
    image = new Image();
    image.onload = onload;
    image.src = uri;
    images.set(uri, image);
  }
  return image;
}

/** Parts of a list. */
function chunks(list, size) {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, k) => list.slice(k * size, (k + 1) * size));
}

/** A list in an order that looks random and is always the same. */
function mixed(list) {
  return list.map((item, k) => [((k + 1) * 2654435761) % 4294967296, item]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
}
