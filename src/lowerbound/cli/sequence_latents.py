"""The latent variables of models of sequences and texts: what they hold, and the same decoder without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import plus_minus

if TYPE_CHECKING:
    from lowerbound.evaluation.estimate import Estimate

OF_DECODER = (
    "chain", "columns", "dropout", "head", "hidden_size", "length", "likelihood", "token_dropout", "tokens", "window",
)  # fmt: skip
ALONE = "name a run of the same decoder with --latent-dim 0 beside this one, to see what z brings"


def brought(models: Mapping[str, Any], difference: Estimate) -> dict[str, Any]:
    """The record of what z brings, of two models of which the one is the other without latent variables; else empty.

    Parameters
    ----------
    models : dict of estimator
        The two models by their runs.
    difference : Estimate
        Of log p(x) under the first and the second, paired.
    """
    (first, a), (second, b) = models.items()
    if bool(a.latent_dim) == bool(b.latent_dim) or not has_same_decoder(a, b):
        return {}
    sign, runs = (1, (first, second)) if a.latent_dim else (-1, (second, first))
    found = {**difference.to_dict(), "mean": sign * difference.value, "kind": "lower"}
    return {"z_brings": {**found, "with": runs[0], "without": runs[1]}}


def has_same_decoder(a: Any, b: Any) -> bool:
    """True if two models have the same parameters of the decoder."""
    return all(getattr(a, name, None) == getattr(b, name, None) for name in OF_DECODER)


def brought_in_words(record: Mapping[str, Any], unit: str) -> dict[str, str]:
    """The row of a table that says what z brings, if that is known."""
    if "z_brings" not in record:
        return {}
    found = record["z_brings"]
    amount = plus_minus(found["mean"], found["standard_error"])
    return {"z brings": f"≥ {amount} a {unit}  ({found['with']} − {found['without']}, the same decoder without z)"}


def active(record: Mapping[str, Any]) -> str:
    """The number of active units, in brackets."""
    return f"({record['active_units']} of {record['latent_dim']} latent variables are active)"
