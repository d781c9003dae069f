"""``evaluate`` for texts: nats a text, bits a character and a byte, and the difference of two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import information, plus_minus, short, table
from lowerbound.cli.sequence_latents import ALONE, active, brought, brought_in_words
from lowerbound.cli.sequence_scores import SIGNS, better, how_estimated
from lowerbound.cli.sequences import context_for

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset
    from lowerbound.sequences.sequence_vae import SequenceVAE

SAMPLES = 100  # of each text
IN_BITS = "(in nats and bits, ends included, ± one standard error over texts)"


def account(model: SequenceVAE, dataset: Dataset, n_importance: int | None) -> dict[str, Any]:
    """The record of ``evaluate RUN DATA``."""
    X, known = dataset.X, context_for(model, dataset)
    found = model.log_likelihood(X, n_importance or SAMPLES, context=known)
    return {"n": len(X), "log_likelihood": found.to_dict(), **_of_latents(model, X, known)}


def _of_latents(model: SequenceVAE, X: Any, known: Any) -> dict[str, Any]:
    """The record of the lower bound and of the latent variables; empty without them."""
    from lowerbound.evaluation.estimate import mean_over_rows

    if not model.latent_dim:
        return {}
    terms = model.elbo_terms(X, context=known)
    return {
        "elbo": mean_over_rows(terms.elbo, "lower").to_dict(),
        "kl": mean_over_rows(terms.kl.sum(-1), "estimate").to_dict(),
        "active_units": terms.active_units,
        "latent_dim": model.latent_dim,
        "mutual_information": model.mutual_information(X, context=known).to_dict(),
    }


def in_words(record: dict[str, Any], source: str) -> str:
    """The text of the record."""
    found = record["log_likelihood"]
    sign, per_token = SIGNS[found["kind"]], plus_minus(found["per_token"], found["per_token_error"])
    rows = {
        "data": f"{source}, {record['n']:,} texts, {found['n_characters']:,} characters with their ends",
        "log p(x)": f"{sign}{_mean(found)} a text  ({how_estimated(found, 'text')})",
        "bits": f"{short(found['bits_per_character'])} a character, {short(found['bits_per_byte'])} a byte",
        "a token": f"{sign}{per_token}, perplexity {short(found['perplexity'])}",
    }
    if "elbo" in record:
        rows |= {"ELBO": f"{_mean(record['elbo'])} a text", **_in_words(record), "without z": ALONE}
    return f"{table(rows)}\n{IN_BITS}"


def _in_words(record: dict[str, Any], of: str = "") -> dict[str, str]:
    """The KL of the latent variables and the information that they have of a text."""
    found = record["mutual_information"]
    return {
        f"KL{of}": f"{_mean(record['kl'])} a text  {active(record)}",
        f"I(x; z{'|c' * bool(found.get('n_importance'))}){of}": information(found, _mean(found)),
    }


def compare(models: dict[str, SequenceVAE], dataset: Dataset, n_importance: int | None) -> dict[str, Any]:
    """The paired difference of two models: log p(x) of the same texts under both."""
    import torch

    from lowerbound.evaluation.estimate import mean_over_rows

    X, K = dataset.X, n_importance or SAMPLES
    known = [context_for(model, dataset) for model in models.values()]
    each = list(zip(models.values(), known, strict=True))
    found = [model.log_likelihood(X, K, context=context).to_dict() for model, context in each]
    given = [model if context is None else model.given(context) for model, context in each]
    a, b = (model.fitted_.log_likelihood_rows(X, K) for model in given)
    difference = mean_over_rows(torch.from_numpy(a - b), "estimate")
    return {
        "n": len(X),
        "runs": list(models),
        "log_likelihood": found,
        "difference": difference.to_dict(),
        "better": better(difference, *models),
        "latents": [_of_latents(model, X, context) for model, context in each],
        **brought(models, difference),
    }


def in_words_of_two(record: dict[str, Any], source: str) -> str:
    """The text of the record of two models."""
    first, second = record["runs"]
    verdict = f"{record['better']} is better" if record["better"] else "no clear difference"
    of_each = {
        run: f"{SIGNS[found['kind']]}{_mean(found)} a text, {short(found['bits_per_byte'])} bits a byte"
        for run, found in zip(record["runs"], record["log_likelihood"], strict=True)
    }
    rows = {"data": f"{source}, {record['n']:,} texts", **of_each}
    for run, latents in zip(record["runs"], record["latents"], strict=True):
        rows |= _in_words(latents, f" of {run}") if latents else {}
    rows["difference"] = f"{_mean(record['difference'])} a text  ({first} − {second}: {verdict})"
    rows |= brought_in_words(record, "text")
    return (
        f"{table(rows)}\n(log p(x) in nats, ends included, ± one standard error over texts; the difference is paired)"
    )


def _mean(record: dict[str, Any]) -> str:
    return plus_minus(record["mean"], record["standard_error"])
