"""How quickly the page answers: slider to pixels, 100,000 points, a point under the pointer, and the start.

python benchmarks/page.py mnist.npz runs/mnist       # a run of `lowerbound train mnist.npz --key x_train`
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

SLIDE = """async n => {
  const slider = document.querySelector('.slider input'), canvas = document.querySelector('.made canvas'), found = [];
  for (let k = 0; k < n; k += 1) {
    const from = performance.now();
    const ready = new Promise(done => {
      const shown = new MutationObserver(() => {
        shown.disconnect();
        requestAnimationFrame(() => done(performance.now()));
      });
      shown.observe(canvas, { attributeFilter: ['data-uri'] });
    });
    slider.value = -2 + 4 * (k + 1) / n;
    slider.dispatchEvent(new Event('input'));
    found.push(await ready - from);
    await new Promise(done => setTimeout(done, 30));
  }
  return found;
}"""
POINTS = """async n => {
  const { Scatter } = await import('/scatter.js');
  const scatter = new Scatter({ label: 'points' });
  document.querySelector('.stage').append(scatter.element);
  const normal = () => Math.sqrt(-2 * Math.log(Math.random() + 1e-12)) * Math.cos(2 * Math.PI * Math.random());
  const x = Float32Array.from({ length: n }, normal), y = Float32Array.from({ length: n }, normal);
  scatter.show({ x, y, axes: ['a', 'b'], is_prior: true });
  scatter.paint({ name: 'k', kind: 'numbers', values: x, low: -2, high: 2 });
  const drawn = [], pointed = [];
  for (let k = 0; k < 20; k += 1) {
    const from = performance.now();
    scatter.draw();
    drawn.push(performance.now() - from);
  }
  scatter.find(10, 10);
  for (let k = 0; k < 200; k += 1) {
    const from = performance.now();
    scatter.point(scatter.find(100 + 3 * (k % 100), 100 + 2 * (k % 90)));
    pointed.push(performance.now() - from);
  }
  scatter.element.remove();
  return { drawn, pointed };
}"""


def quantiles(milliseconds: list[float]) -> str:
    """The median and the 95 % quantile."""
    return "p50 {:.1f} ms, p95 {:.1f} ms".format(*np.quantile(milliseconds, [0.5, 0.95]))


def main(data: str, run: str) -> None:
    """Start the page as a user does, and measure in a browser."""
    words = ["-m", "lowerbound", "explore", run, data, "--key", "x_test", "--label", "y_test", "--no-browser", "--json"]
    started = time.perf_counter()
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    url = json.loads(server.stdout.readline())["url"]
    print(f"address after {time.perf_counter() - started:.1f} s")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(url)
        tab.wait_for_selector(".legend-name", timeout=300_000)
        print(f"map in colors after {time.perf_counter() - started:.1f} s")
        tab.click("[data-panel=sample]")
        tab.wait_for_selector(".made canvas")
        tab.evaluate(SLIDE, 20)
        print("slider to pixels:", quantiles(tab.evaluate(SLIDE, 200)))
        found = tab.evaluate(POINTS, 100_000)
        print("100,000 points drawn:", quantiles(found["drawn"]))
        print("the point under the pointer found, ring and card drawn:", quantiles(found["pointed"]))
        browser.close()
    server.terminate()
    server.wait(30)


if __name__ == "__main__":
    main(*(str(Path(word)) for word in sys.argv[1:3]))
