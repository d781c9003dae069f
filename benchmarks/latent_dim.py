"""The number of latent variables that "auto" takes, and what 32, that many and 256 of them bring to a linear model.

    python benchmarks/latent_dim.py --data FOLDER

FOLDER holds mnist.npz, fashion_mnist.npz and freyfaces.npz; color images with a 1/f spectrum are simulated. Reported:
bits a dimension under probabilistic PCA of a fifth of the rows, with uniform noise between the grey levels.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from density import machine, revision

from lowerbound import PPCA
from lowerbound.data.spectrum import informative_directions
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "latent-dim.json"
FEWEST, MOST, ROWS = 32, 256, 8000


def color_images(n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Images (n, 3, side, side) whose channels share most of a random field with amplitudes 1/f, in grey levels."""
    fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    f = np.hypot(fy, fx)
    f[0, 0] = 1 / side
    shared, own = (np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, c, side, side))) / f).real for c in (1, 3))
    x = shared / shared.std() + 0.35 * own / own.std()
    return np.clip(128 + 50 * x + rng.normal(0, 2, x.shape), 0, 255).round()


def measured(x: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """The directions in some rows, and the bits a dimension of the others."""
    x = x.reshape(len(x), -1)[:ROWS].astype(float)
    x = rng.permutation(x + rng.random(x.shape))
    train, test = np.split(x, [int(0.8 * len(x))])
    directions = informative_directions(train, np.ones(x.shape[1]))
    found: dict[str, float] = {"rows": len(x), "features": x.shape[1], "directions": directions}
    for n in sorted({FEWEST, max(FEWEST, directions), MOST}):
        scores = PPCA(n, standardize=False).fit(train).score_samples(test)
        found[f"bits a dimension with {n}"] = -float(scores.mean()) / np.log(2) / x.shape[1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the images")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    sets = {"color images, simulated": color_images(3500, 32, rng)}
    for name, key in (("mnist", "x_train"), ("fashion_mnist", "x_train"), ("freyfaces", "x")):
        with np.load(arguments.data / f"{name}.npz") as arrays:
            sets[name] = arrays[key]
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"), "commit": revision(),
        "machine": machine(), "results": {name: measured(x, rng) for name, x in sets.items()},
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
