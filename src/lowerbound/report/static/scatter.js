// The map of codes: the nearest point follows the pointer or the arrow keys; places are clicked, points encircled.

import { announce } from "./dom.js";
import { Grid, extent, within } from "./geometry.js";
import { Plane } from "./plane.js";

const REACH = 16; // pixels from a point within which the pointer finds it

export class Scatter extends Plane {
  /** @param {import("./plane.js").ScatterOptions} options */
  constructor(options) {
    super(options);
    this.listen();
  }

  listen() {
    this.over.addEventListener("pointermove", (event) => this.moved(event));
    this.over.addEventListener("pointerleave", () => this.line || this.point(-1));
    this.over.addEventListener("pointerdown", (event) => this.pressed(event));
    this.over.addEventListener("pointerup", (event) => this.released(event));
    this.over.addEventListener("keydown", (event) => this.typed(event));
    this.over.addEventListener("blur", () => this.point(-1));
  }

  /** The nearest point to a place in pixels. */
  find(x, y) {
    this.grid ??= new Grid(this.px, this.py);
    return this.grid.nearest(x, y, REACH);
  }

  moved(event) {
    if (this.line && event.buttons) {
      const last = this.line[this.line.length - 1];
      if (Math.hypot(event.offsetX - last[0], event.offsetY - last[1]) > 3) this.line.push([event.offsetX, event.offsetY]);
      if (this.options.onlasso) this.drawOver();
      return;
    }
    this.point(this.find(event.offsetX, event.offsetY));
  }

  pressed(event) {
    this.line = [/** @type {[number, number]} */ ([event.offsetX, event.offsetY])];
    this.over.setPointerCapture(event.pointerId);
  }

  released(event) {
    const line = this.line ?? [];
    this.line = null;
    const [wide, high] = [extent(line.map((corner) => corner[0])), extent(line.map((corner) => corner[1]))];
    if (this.options.onlasso && line.length > 5 && wide[1] - wide[0] > 8 && high[1] - high[0] > 8) {
      this.select(within(line, this.px, this.py));
      this.options.onlasso([...this.selected]);
      return;
    }
    const row = this.find(event.offsetX, event.offsetY);
    if (row >= 0) this.options.onpick?.(row);
    else this.choose(...this.scale.toData(event.offsetX, event.offsetY));
    this.drawOver();
  }

  /** Choose a place of the plane. */
  choose(x, y) {
    if (!this.options.onplace) return;
    this.place = [x, y];
    this.drawOver();
    this.options.onplace(x, y);
  }

  typed(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && this.current >= 0) this.options.onpick?.(this.current);
    if (event.key === "Escape") this.point(-1);
    if (!way || !this.x.length) return;
    event.preventDefault();
    if (event.shiftKey && this.options.onplace) {
      const [x, y] = this.place ?? [0, 0];
      const step = 12;
      return this.choose(x + (way[0] * step) / this.scale.scales[0], y - (way[1] * step) / this.scale.scales[1]);
    }
    this.grid ??= new Grid(this.px, this.py);
    const next = this.current < 0 ? this.middle() : this.grid.towards(this.current, way[0], way[1]);
    if (next >= 0) this.point(next, true);
  }

  /** The point nearest to the middle of the map. */
  middle() {
    const { left, top, width, height } = this.frame;
    return this.grid.nearest(left + width / 2, top + height / 2, width + height);
  }

  /** Put the ring around a point, and the card above it. */
  point(row, byKey = false) {
    if (row === this.current) return;
    this.current = row;
    this.drawOver();
    this.card.hidden = row < 0;
    if (row < 0) return;
    const content = this.options.card?.(row);
    if (!content) this.card.hidden = true;
    else this.card.replaceChildren(content);
    this.placeCard();
    if (byKey && this.options.words) announce(this.options.words(row));
  }

  /** Beside the point, within the plane. */
  placeCard() {
    const plane = /** @type {HTMLElement} */ (this.base.parentElement);
    const [x, y] = [this.px[this.current], this.py[this.current]];
    const [wide, high] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = Math.min(Math.max(0, x - wide / 2), plane.clientWidth - wide);
    const top = y - high - 14 >= 0 ? y - high - 14 : y + 16;
    Object.assign(this.card.style, { left: `${left}px`, top: `${Math.min(top, Math.max(0, plane.clientHeight - high))}px` });
  }
}
