"""``compare`` for sequences and texts: the same decoder with latent variables and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import Console, Failure, information, nats, plus_minus, short
from lowerbound.cli.sequence_latents import active
from lowerbound.cli.sequence_scores import SIGNS

if TYPE_CHECKING:
    from lowerbound.comparison.sequences import SequenceCase, SequenceResult
    from lowerbound.data.sources import Dataset

MODELS = ("gru", "masked", "recurrent_vae", "sequence_vae")
UNITS = {
    "sequences": "log p(x) of sequences whose lengths are given, in the data's units",
    "text": "log-probabilities of texts, their ends included",
}


def case_of(dataset: Dataset, seed: int) -> SequenceCase:
    """The sequences or texts of a dataset, some of them held out."""
    from lowerbound.comparison.sequences import split_sequences

    try:
        return split_sequences(dataset.X, dataset.context, seed=seed)
    except ValueError as error:
        raise Failure(str(error)) from error


def chosen_of(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The models named; all that take such data, if none were."""
    from lowerbound.comparison.sequences import MODELS as KNOWN

    able = KNOWN[kind]
    for name in names:
        if name not in able:
            raise Failure(f"{name} takes no {kind if kind == 'sequences' else 'texts'}: {', '.join(able)} do")
    return names or tuple(able)


def record_of(case: SequenceCase, results: list[SequenceResult]) -> dict[str, Any]:
    """The record for ``--json``, without the parameters of the comparison."""
    from lowerbound.comparison.sequences import brought_by_z

    brought = brought_by_z(results)
    return {
        "kind": case.kind, "rows": {"fitted": len(case.train), "scored": len(case.test)},
        "models": [result.to_dict() for result in results], "z_brings": None if brought is None else brought.to_dict(),
    }  # fmt: skip


def lines_of(case: SequenceCase, results: list[SequenceResult]) -> list[tuple[str, ...]]:
    """The heads of the table and the cells of every model that has log p(x)."""
    each = "a step" if case.kind == "sequences" else "bits a byte"
    heads = ("model", f"log p(x) a {case.unit}", each, "KL", "parameters", "fit, s")
    return [heads, *(_cells(result) for result in results if result.log_p is not None)]


def _cells(result: SequenceResult) -> tuple[str, ...]:
    log_p: Any = result.log_p
    sign, is_text = SIGNS[log_p.kind] or "= ", hasattr(log_p, "bits_per_byte")
    each = short(log_p.bits_per_byte) if is_text else plus_minus(log_p.per_step, log_p.per_step_error)
    kl = "" if result.kl is None else nats(result.kl.value)
    return (
        result.title, f"{sign}{plus_minus(log_p.value, log_p.standard_error)}", each, kl, f"{result.n_parameters:,}",
        f"{result.fit_seconds:.1f}",
    )  # fmt: skip


def said_below(record: dict[str, Any], case: SequenceCase) -> list[str]:
    """Sentences on what z holds, and on what it brings."""
    said = []
    for each in record["models"]:
        if each["kl"] is not None:
            of_z = f"{each['title']}: KL {_mean(each['kl'])} a {case.unit} {active(each)}"
            if found := each["information"]:
                name = "I(x; z|c)" if "n_importance" in found else "I(x; z)"
                of_z += f", {name} {information(found, _mean(found))}"
            said.append(of_z)
    if record["z_brings"] is not None:
        said.append(f"z brings ≥ {_mean(record['z_brings'])} a {case.unit}, beside the same decoder without it")
    return said


def _mean(found: dict[str, Any]) -> str:
    return plus_minus(found["mean"], found["standard_error"])


def announce(dataset: Dataset, case: SequenceCase, console: Console) -> None:
    """Say what is compared."""
    console.say(
        f"{dataset.source}: {len(case.train):,} {case.unit}s to fit, {len(case.test):,} others to score; "
        f"{UNITS[case.kind]}"
    )
