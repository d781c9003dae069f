"""``evaluate`` for sequences: nats a sequence and a step, KL, and the difference of two models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import Failure, information, nats, plus_minus, table
from lowerbound.cli.sequence_latents import ALONE, active, brought, brought_in_words
from lowerbound.cli.sequences import sequences_of

if TYPE_CHECKING:
    from lowerbound.data.sequences import Sequences
    from lowerbound.data.sources import Dataset
    from lowerbound.evaluation.estimate import Estimate
    from lowerbound.sequences.recurrent import RecurrentVAE

SAMPLES = 1000  # of each step
SIGNS = {"exact": "", "lower": "≥ ", "upper": "≤ ", "estimate": "≈ "}
LENGTHS = {"given": "log p(x | T): lengths are given", "end": "log p(x), ends included"}


def better(difference: Estimate, first: str, second: str) -> str | None:
    """The run that is better by more than two standard errors."""
    is_clear = abs(difference.value) > 2 * difference.standard_error
    return (first if difference.value > 0 else second) if is_clear else None


def how_estimated(record: dict[str, Any], unit: str) -> str:
    """The method of log p(x) in words."""
    if "n_importance" not in record:
        return "exact"
    return f"{record['n_importance']:,} importance samples a {unit}, {record['ess']:.0f} effective"


def account(model: RecurrentVAE, dataset: Dataset, n_importance: int | None) -> dict[str, Any]:
    """The record of ``evaluate RUN DATA``."""
    X = sequences_of(dataset, model)
    found = model.log_likelihood(X, n_importance or SAMPLES).to_dict()
    return {"n": len(X), "log_likelihood": found, **_of_latents(model, X, int(found["n_steps"]))}


def _of_latents(model: RecurrentVAE, X: Sequences, n_steps: int) -> dict[str, Any]:
    """The record of the lower bound and of the latent variables; empty without them."""
    from lowerbound.evaluation.estimate import mean_over_rows

    if not model.latent_dim:
        return {}
    terms, is_whole = model.elbo_terms(X), model.latents == "sequence"
    return {
        "elbo": mean_over_rows(terms.elbo, "lower").to_dict(),
        "kl_per_sequence" if is_whole else "kl_per_step": terms.kl.sum().item() / (len(X) if is_whole else n_steps),
        **({"mutual_information": model.mutual_information(X).to_dict()} if is_whole else {}),
        "active_units": terms.active_units,
        "latent_dim": model.latent_dim,
    }


def in_words(record: dict[str, Any], source: str) -> str:
    """The text of the record."""
    found = record["log_likelihood"]
    of_whole = "kl_per_sequence" in record
    sign, steps, how = SIGNS[found["kind"]], found["n_steps"], how_estimated(found, "sequence" if of_whole else "step")
    rows = {
        "data": f"{source}, {record['n']:,} sequences, {steps:,} steps",
        "log p(x)": f"{sign}{plus_minus(found['mean'], found['standard_error'])} a sequence  ({how})",
        "a step": f"{sign}{plus_minus(found['per_step'], found['per_step_error'])}",
    }
    if "elbo" in record:
        rows["ELBO"] = f"{plus_minus(record['elbo']['mean'], record['elbo']['standard_error'])} a sequence"
        rows["KL"] = _kl(record)
        if of_whole:
            known = record["mutual_information"]
            rows["I(x; z)"] = information(known, plus_minus(known["mean"], known["standard_error"]))
        rows["without z"] = ALONE
    return f"{table(rows)}\n(in nats, ± one standard error over sequences; {LENGTHS[found['length']]})"


def _kl(record: dict[str, Any]) -> str:
    if "kl_per_step" in record:
        return f"{nats(record['kl_per_step'])} a step  {active(record)}"
    return f"{nats(record['kl_per_sequence'])} a sequence  {active(record)}"


def compare(models: dict[str, RecurrentVAE], dataset: Dataset, n_importance: int | None) -> dict[str, Any]:
    """The paired difference of two models: log p(x) of the same sequences under both."""
    import torch

    from lowerbound.comparison.comparable import why_incomparable
    from lowerbound.evaluation.estimate import mean_over_rows

    (first, a), (second, b) = models.items()
    why = why_incomparable(a, b, (first, second))
    if why is None and a.length != b.length:
        why = f"log p(x) of {first} is with length={a.length!r}, that of {second} with {b.length!r}"
    if why is not None:
        raise Failure(f"the two models can't be compared: {why}")
    X = sequences_of(dataset, a)
    estimates = [model.log_likelihood(X, n_importance or SAMPLES) for model in (a, b)]
    scores = [model.fitted_.log_likelihood_rows(X, n_importance or SAMPLES) for model in (a, b)]
    difference = mean_over_rows(torch.from_numpy(scores[0] - scores[1]), "estimate")
    return {
        "n": len(X),
        "runs": [first, second],
        "log_likelihood": [each.to_dict() for each in estimates],
        "difference": difference.to_dict(),
        "difference_per_step": difference.value * len(X) / estimates[0].n_steps,
        "better": better(difference, first, second),
        "latents": [_of_latents(model, X, estimates[0].n_steps) for model in (a, b)],
        **brought(models, difference),
    }


def in_words_of_two(record: dict[str, Any], source: str) -> str:
    """The text of the record of two models."""
    first, second = record["runs"]
    verdict = f"{record['better']} is better" if record["better"] else "no clear difference"
    of_each = {
        run: f"{SIGNS[found['kind']]}{plus_minus(found['mean'], found['standard_error'])} a sequence, "
        f"{plus_minus(found['per_step'], found['per_step_error'])} a step"
        for run, found in zip(record["runs"], record["log_likelihood"], strict=True)
    }
    difference, steps = record["difference"], record["log_likelihood"][0]["n_steps"]
    of_a_step = difference["standard_error"] * record["n"] / steps if math.isfinite(difference["standard_error"]) else 0
    rows = {
        "data": f"{source}, {record['n']:,} sequences, {steps:,} steps",
        **of_each,
        **{f"KL of {run}": _kl(of) for run, of in zip(record["runs"], record["latents"], strict=True) if of},
        "difference": f"{plus_minus(difference['mean'], difference['standard_error'])} a sequence, "
        f"{plus_minus(record['difference_per_step'], of_a_step)} a step  ({first} − {second}: {verdict})",
        **brought_in_words(record, "sequence"),
    }
    return f"{table(rows)}\n(log p(x) in nats, ± one standard error over sequences; the difference is paired)"
