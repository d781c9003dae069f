"""Polyphonic music: log p of test pieces in nats a step, with latent variables at every step and without.

    python benchmarks/music.py --data FOLDER --name jsb_chorales

Four models: "gru" and "masked" have no latent variables, the keys of a chord being independent of each other given the
past, or each dependent on those below it; "z" has 32 at every step, and independent keys given them; "one" has 16 that
are those of the whole piece.

FOLDER holds ``jsb_chorales.npz`` and ``nottingham.npz``: arrays ``train``, ``valid`` and ``test`` of chords, whose 88
keys are packed into 11 bytes, and ``train_len``, … with the lengths of pieces. The figure is the mean over all steps of
all test pieces, first steps included, their lengths given: a lower bound by importance samples of each step, exact for
``latent_dim=0``. What is done is kept; run again, the script goes on where it was stopped.
The settings were chosen by ``valid``, on which nothing is fitted, and nothing by ``test``. The pieces
of ``nottingham``, which are long, are fitted in excerpts of at most 100 steps, and scored whole.

Published, in nats a step: TCN 8.10 (JSB chorales) and 3.07 (Nottingham) (Bai et al., 2018, arXiv:1803.01271, without
the first step of each piece); VRNN trained with FIVO 6.91 to 7.40 and 2.85 to 2.99 (Maddison et al., 2017,
arXiv:1705.09279).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from density import machine, recorded, revision

from lowerbound import ELBO, IWAE, Adam, RecurrentVAE, Sequences
from lowerbound.storage.atomic import write_text

RESULTS = Path(__file__).parent / "results"
PARAMETERS: dict[str, Any] = {
    "hidden_size": 128, "batch_size": 16, "early_stopping": False,
    "optimizer": Adam(3e-3, ema=0.99, weight_decay=0.1),
}  # fmt: skip
OF_DATA: dict[str, dict[str, Any]] = {
    "jsb_chorales": {"dropout": 0.4, "max_epochs": 60},
    "nottingham": {
        "dropout": 0.1,
        "max_epochs": 60,
        "objective": ELBO(),
        "optimizer": Adam(3e-3, ema=0.99, weight_decay=0.01),
    },
}
MODELS: dict[str, dict[str, Any]] = {
    "gru": {"latent_dim": 0},
    "z": {"latent_dim": 32, "objective": IWAE(5, gradient="dreg")},
    "masked": {"latent_dim": 0, "head": "masked"},
    "one": {"latent_dim": 16, "latents": "sequence"},
}
EXCERPT = {"jsb_chorales": 1000, "nottingham": 100}  # steps that are fitted together, at most
KEYS = 88


def pieces(folder: Path, name: str, part: str) -> Sequences:
    """The pieces of a part, a step being the 88 keys, 0 or 1."""
    with np.load(folder / f"{name}.npz") as arrays:
        return Sequences(np.unpackbits(arrays[part], axis=1)[:, :KEYS], arrays[f"{part}_len"])


def excerpts(pieces: Sequences, most: int) -> Sequences:
    """The pieces in parts of at most so many steps."""
    return Sequences.of([piece[i : i + most] for piece in pieces for i in range(0, len(piece), most)])


def measured(model: RecurrentVAE, train: Sequences, parts: dict[str, Sequences], n_importance: int) -> dict[str, Any]:
    """The estimates of a fit, and its seconds."""
    cpu = time.process_time()
    model.fit(train)
    seconds = round(time.process_time() - cpu, 1)
    estimates = {name: model.log_likelihood(part, n_importance) for name, part in parts.items()}
    for name, estimate in estimates.items():
        print(f"{model}, {name}: {estimate}", flush=True)
    return {
        "parameters": recorded(model.get_params(deep=False)), "cpu_seconds": seconds, "epochs": model.n_iter_,
        f"kl_per_{model.latents.removesuffix('s')}": model.kl_,
        **{name: estimate.to_dict() for name, estimate in estimates.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two .npz files")
    parser.add_argument("--name", choices=("jsb_chorales", "nottingham"), required=True)
    parser.add_argument("--models", choices=list(MODELS), nargs="+", default=list(MODELS))
    parser.add_argument("--epochs", type=int, help="if not the benchmark's")
    parser.add_argument("--n-importance", type=int, default=1000)
    parser.add_argument("--random-states", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    train, *held_out = (pieces(arguments.data, arguments.name, part) for part in ("train", "valid", "test"))
    parts: dict[str, Sequences] = dict(zip(("valid", "test"), held_out, strict=True))
    record: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"), "commit": revision(),
        "machine": machine(), "pieces": len(train), "steps": len(train.steps), "excerpt": EXCERPT[arguments.name],
    }  # fmt: skip
    output = arguments.output or RESULTS / f"music-{arguments.name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    fits = json.loads(output.read_text())["models"] if output.exists() else []
    record["models"] = fits
    done = {(each["model"], each["parameters"]["random_state"]) for each in fits}
    own = PARAMETERS | OF_DATA[arguments.name] | ({"max_epochs": arguments.epochs} if arguments.epochs else {})
    for random_state in arguments.random_states:
        for name in arguments.models:
            if (name, random_state) in done:
                continue
            model = RecurrentVAE(**{**MODELS[name], **own}, random_state=random_state)
            fitted_to = excerpts(train, EXCERPT[arguments.name])
            fits.append(
                {"model": name, "commit": revision(), **measured(model, fitted_to, parts, arguments.n_importance)}
            )
            write_text(output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
