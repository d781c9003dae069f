"""Every field of every part, beside every other kind of part: honored, or refused with a sentence; never ignored."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lowerbound import VAE
from lowerbound.parameters.parameter import Parameter, Part
from lowerbound.parameters.vae import VAE_PARAMETERS
from lowerbound.training.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore")
N_ROWS = 40
KINDS = [(name, kind) for name, parameter in VAE_PARAMETERS.items() for kind in parameter.kinds]
PAIRS = [(a, b) for a in KINDS for b in KINDS if a[0] != b[0]]
CHEAP = {
    "mlp": {"hidden_layer_sizes": (6,)}, "iwae": {"n_samples": 2}, "mean_field": {"n_steps": 0}, "mcem": {"n_steps": 0},
}  # fmt: skip
STANDS_FOR = {"discretized_logistic": "decoder", "gaussian": "feature", "columns": "decoder"}  # scale="auto"
OF_SPEED = {"compile"}  # the same weights, sooner: tests/training/test_step.py
rng = np.random.default_rng(0)
REAL = rng.normal(size=(N_ROWS, 4)) @ rng.normal(size=(4, 4))
REAL[rng.random(REAL.shape) < 0.2] = np.nan
IMAGES = (255 * rng.random((N_ROWS, 16, 16))).astype(np.uint8)
BYTES = (255 * rng.random((N_ROWS, 4))).astype(np.uint8)
CATEGORIES = rng.integers(0, 3, (N_ROWS, 4))
TABLE = pd.DataFrame({"a": REAL[:, 0], "b": rng.choice(["x", "y"], N_ROWS), "c": rng.normal(size=N_ROWS)})


def alternatives(parameter: Parameter) -> list[Any]:
    """Values that are allowed, and aren't the default."""
    if parameter.many:
        return [(5,), (5, 3)]
    numbers = [3, 2] if parameter.number is int else [0.02, 0.4, 2.0]
    number = [v for v in numbers if parameter.number and parameter.accepts(v) and v != parameter.default][:1]
    return [choice for choice in parameter.choices if choice != parameter.default] + number


def variations(name: str, kind: type[Part]) -> list[dict[str, Any]]:
    every = [{field: value} for field, row in kind.options().items() for value in alternatives(row)]
    return [fields for fields in every if fields.get("scale", "auto") != STANDS_FOR.get(kind.kind)]


def rows(asked: dict[str, Any]) -> Any:
    """Data that the likelihood and the network can describe."""
    word = asked["likelihood"].kind if "likelihood" in asked else "gaussian"
    if "network" in asked and asked["network"].kind == "conv":
        of_kind = {"gaussian": IMAGES / 255, "bernoulli": (IMAGES > 127) * 1, "categorical": IMAGES % 3}
        return IMAGES if getattr(asked.get("likelihood"), "binarize", None) else of_kind.get(word, IMAGES)
    if word == "bernoulli":
        return BYTES if asked["likelihood"].binarize else (BYTES > 127) * 1
    of_kind = {"gaussian": REAL, "categorical": CATEGORIES, "discretized_logistic": BYTES, "columns": TABLE}
    return of_kind[word]


class _Settings(Watch):
    def on_start(self, training, data, validation):
        self.settings = training.settings


@cache
def outcome(**asked: Part) -> Any:
    """Everything that a fit comes to; or the sentence with which it is refused."""
    X, watch = rows(asked), _Settings()
    plain = {"latent_dim": 2, "random_state": 0, "max_epochs": 3, "batch_size": 40, "early_stopping": False, **asked}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vae = VAE(**plain).fit(X, watch=watch)
            new = X.iloc[::-1] if hasattr(X, "iloc") else X[::-1]
            codes = vae.transform(new)
            numbers = [t.double().sum().item() for m in vae._modules().values() for t in m.state_dict().values()]
    except (ValueError, TypeError) as error:
        return str(error)
    return numbers, codes.sum(), vae.schema_.is_standardized, watch.settings


def same(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return False
    first, second = ([*x[0], x[1]] for x in (a, b))
    return len(first) == len(second) and np.array_equal(first, second, equal_nan=True) and a[2:] == b[2:]


def cheap(kind: type[Part], **fields: Any) -> Part:
    return kind(**{**CHEAP.get(kind.kind, {}), **fields})


@pytest.mark.parametrize(("ours", "other"), PAIRS, ids=[f"{a[0]}={a[1].kind}, {b[0]}={b[1].kind}" for a, b in PAIRS])
def test_a_field_is_honored_beside_any_other_part_or_refused(ours, other):
    (name, kind), beside = ours, {other[0]: cheap(other[1])}
    before = outcome(**{name: cheap(kind)}, **beside)
    for fields in variations(name, kind):
        if OF_SPEED & set(fields):
            continue
        try:
            part = cheap(kind, **fields)
        except ValueError:  # fields that don't go together
            continue
        after = outcome(**{name: part}, **beside)
        assert not same(before, after), f"{fields} changes nothing"
        if isinstance(after, str):
            assert len(after.split()) > 4, after
