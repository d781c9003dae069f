"""Processor time of an epoch of a recurrent model without z: ragged rows, rows of equal lengths, and a loop by hand.

    python benchmarks/sequence_speed.py

Chords of 88 keys, 229 pieces, on average 60 steps: once as long as those of the JSB chorales are (a gamma distribution
from 24 to 130 steps), once all equally long, with as many steps. Three contenders take turns on one thread:
``RecurrentVAE`` on either, without dropout, and the shortest PyTorch loop that does the same work on the ragged pieces:
a GRU, two linear layers that also read the last chord, a weight for each key of it, batches of like lengths padded
before the clock starts, torch.optim.AdamW. Medians over the turns.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from density import machine, revision
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from lowerbound import RecurrentVAE, Sequences
from lowerbound.storage.atomic import write_text
from lowerbound.training.fit import run

OUTPUT = Path(__file__).parent / "results" / "sequence-speed.json"
KEYS, HIDDEN, BATCH, TURNS = 88, 128, 16, 5


class ByHand(nn.Module):
    """The same network."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = nn.GRU(KEYS, HIDDEN, batch_first=True)
        self.output = nn.Sequential(nn.Linear(HIDDEN + KEYS, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, KEYS))
        self.same = nn.Parameter(torch.zeros(KEYS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of every step from the steps before it."""
        last = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        return self.output(torch.cat([self.recurrence(last)[0], last], -1)) + self.same * last


def by_hand(pieces: Sequences) -> Callable[[], None]:
    """An epoch of the loop by hand."""
    network = ByHand()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    ordered = sorted((torch.from_numpy(piece).float() for piece in pieces), key=len)
    parts = [ordered[i : i + BATCH] for i in range(0, len(ordered), BATCH)]
    batches = [
        (pad_sequence(part, batch_first=True), pad_sequence([torch.ones(len(x), 1) for x in part], batch_first=True))
        for part in parts
    ]

    def epoch() -> None:
        for x, mask in batches:
            loss = nn.functional.binary_cross_entropy_with_logits(network(x), x, reduction="none")
            optimizer.zero_grad()
            ((loss * mask).sum() / len(x)).backward()
            optimizer.step()

    return epoch


def ours(pieces: Sequences) -> Callable[[], None]:
    """A fit of one epoch."""

    def epoch() -> None:
        options = {"hidden_size": HIDDEN, "batch_size": BATCH, "early_stopping": False, "random_state": 0}
        model = RecurrentVAE(0, dropout=0.0, max_epochs=1, **options)
        run(*model.begin_fit(pieces))

    return epoch


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(9, 60 / 9, 229).astype(int), 24, 130)
    steps = (rng.random((lengths.sum(), KEYS)) < 0.04).astype(np.uint8)
    n_equal = len(steps) // len(lengths)
    equal = Sequences(steps[: n_equal * len(lengths)], np.full(len(lengths), n_equal))
    ragged = Sequences(steps, lengths)
    contenders = {"ragged": ours(ragged), "equal": ours(equal), "by hand": by_hand(ragged)}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, epoch in contenders.items():
            started = time.process_time()
            epoch()
            seconds[name].append(time.process_time() - started)
    median = {name: round(statistics.median(each), 3) for name, each in seconds.items()}
    record = {
        "command": "python benchmarks/sequence_speed.py", "commit": revision(), "machine": machine(),
        "cpu_seconds_an_epoch": median, "ragged_to_equal": round(median["ragged"] / median["equal"], 2),
        "steps_a_second_to_by_hand": round(median["by hand"] / median["ragged"], 2),
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    write_text(OUTPUT, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
