"""A first look: handwritten digits, a fitted model, and what it is for.

    python tutorials/demo.py [folder]

Fits scikit-learn's 1,797 digits (8×8 grey images, a pixel being the probability of ink), prints log p(x) of digits
that the model has not seen beside that of independent pixels, and writes pictures to ``runs/demo/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lowerbound import MLP, VAE, Adam, BernoulliLikelihood, Dataset, EarlyStopping, Estimate, read
from lowerbound.evaluation.estimate import mean_over_rows
from lowerbound.pictures.pictures import above_one_another, latent_map, save_grid, save_map, to_pixels

N_HELD_OUT = 360


def split(digits: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to fit, rows held out, and the latter's labels."""
    order = np.random.default_rng(0).permutation(len(digits.X))
    fitted, held_out = order[N_HELD_OUT:], order[:N_HELD_OUT]
    X, labels = np.asarray(digits.X), np.asarray(digits.labels)
    return X[fitted], X[held_out], labels[held_out]


def independent_pixels(train: np.ndarray, test: np.ndarray):
    """log p(x) where every pixel is a coin of its own, expected over the test digits' binarization."""
    ink = np.clip(train.mean(0) / 255, 1e-3, 1 - 1e-3)
    grey = test / 255
    return mean_over_rows(_as_tensor((grey * np.log(ink) + (1 - grey) * np.log1p(-ink)).sum((1, 2))), "exact")


def _as_tensor(values: np.ndarray):
    import torch

    return torch.from_numpy(values)


def main(folder: Path, max_epochs: int = 400) -> dict[str, Estimate]:
    """Fit, score, draw; returns log p(x) by model."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test, labels = split(read("digits"))
    shared = {"random_state": 0, "likelihood": BernoulliLikelihood("sample"), "network": MLP((256, 256))}

    print(f"Fitting {len(train)} digits with 16 latent variables …")
    vae = VAE(
        latent_dim=16, max_epochs=max_epochs, optimizer=Adam(2e-3), early_stopping=EarlyStopping(patience=60), **shared
    ).fit(train)
    print(f"log p(x) of {len(test)} digits that it has not seen, in nats a digit:")
    found = {"independent pixels": independent_pixels(train, test), "VAE": vae.log_likelihood(test, n_importance=1000)}
    print(f"  independent pixels       {found['independent pixels']}")
    print(f"  variational autoencoder  {found['VAE']}")

    print("Fitting two latent variables, for a map …")
    flat = VAE(
        latent_dim=2, max_epochs=max_epochs, optimizer=Adam(2e-3), early_stopping=EarlyStopping(patience=60), **shared
    ).fit(train)

    columns = 16
    save_grid(to_pixels(vae.sample(128, mean=True), 0, 1), folder / "samples.png", columns)
    pairs = above_one_another(test[:32] / 255, vae.reconstruct(test[:32]), columns)
    save_grid(to_pixels(pairs, 0, 1), folder / "reconstructions.png", columns, group=2)
    save_map(latent_map(flat.transform(test), labels), folder / "latent_map.png")
    vae.save(folder / "model")
    print(f"Wrote {folder}/samples.png, reconstructions.png, latent_map.png and model/.")
    print(f"Next: .venv/bin/lowerbound generate {folder} -n 100 -o more.png")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
