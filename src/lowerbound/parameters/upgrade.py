"""Saved models and configurations of formats 1 and 2 in today's form: new names, and parts of flat parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowerbound.parameters.likelihoods import (
    LIKELIHOODS,
    BernoulliLikelihood,
    ColumnLikelihoods,
    GaussianLikelihood,
    Likelihood,
)
from lowerbound.parameters.parameter import Part, plain
from lowerbound.parameters.parts import (
    ELBO,
    IWAE,
    MCEM,
    MLP,
    Adam,
    Amortized,
    EarlyStopping,
    FlowPosterior,
    GaussianNoise,
    KLPenalty,
    L1Penalty,
    Ladder,
    MaskingNoise,
    MeanField,
    SampledELBO,
    Shared,
)
from lowerbound.parameters.priors import MixturePrior, VampPrior

PARAMETERS = {"hide": "input_dropout", "mask_model": "missingness", "trim": "trim_fraction"}
VALUES = {
    ("covariance", "diag"): "diagonal",
    ("covariance", "spherical"): "isotropic",
    ("missingness", "self"): "self_masking",
}
OPTIMIZER = {"lr_schedule": "schedule", **{name: name for name in ("lr", "weight_decay", "ema")}}
OPTIMIZER |= {name: name for name in ("max_gradient_norm", "precision", "compile")}
EARLY_STOPPING = {"validation_fraction": "fraction", "n_iter_no_change": "patience", "tol": "tol"}
COLUMN = {"levels": "categories"}
SCHEMA = {"n_levels": "n_categories"}
CONV_MIN_SIDE = 16  # of images, for which network="auto" took convolutions


def upgraded_parameters(
    model: str, parameters: Mapping[str, Any], likelihood: str = "gaussian", *, conv: bool = False
) -> dict[str, Any]:
    """The parameters of an estimator in today's form: numbers, words and parts.

    Parameters
    ----------
    model : str
        The name of the estimator's class.
    parameters : mapping
        All of them, or some.
    likelihood : str
        The one that "auto" stood for.
    conv : bool
        The network that "auto" stood for was a convolutional one.
    """
    flat = {PARAMETERS.get(name, name): value for name, value in parameters.items()}
    flat = {k: VALUES.get((k, v), v) if isinstance(v, str) else v for k, v in flat.items()}
    if model == "VAEOutlierDetector" and flat.get("novelty") and "trim_fraction" in flat:
        return {**flat, "trim_fraction": "auto"}  # it was for novelty=False
    groups = {
        "VAE": (_latent_dim, _network, _posterior, _prior, _objective, _likelihood, _optimizer, _early_stopping),
        "Autoencoder": (_network, _likelihood, _optimizer, _early_stopping, _penalty, _noise),
        "PixelRNN": (_likelihood, _optimizer, _early_stopping),
        "Factorized": (_likelihood,),
        "Mixture": (_likelihood,),
    }.get(model, ())
    flat |= {"likelihood now": likelihood, "conv now": conv, "lr then": 4e-3 if model == "PixelRNN" else 1e-3}
    _refuse_fields_beside_parts(flat)
    for group in groups:
        group(flat)
    return {name: value for name, value in flat.items() if not name.endswith((" now", " then"))}


def _refuse_fields_beside_parts(flat: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where a part is written beside a field that it has itself: which counts isn't clear."""
    for owner, names in {
        "likelihood": ("scale", "min_scale", "n_logistics", "standardize", "missingness", "binarize"),
        "network": ("hidden_layer_sizes", "activation"),
        "posterior": ("covariance", "input_dropout", "n_refinement_steps"),
        "prior": ("n_prior_components",),
        "objective": ("gradient", "n_samples", "kl_weight", "kl_warmup_steps", "free_bits", "trim_fraction"),
        "optimizer": tuple(OPTIMIZER),
        "early_stopping": ("validation_fraction", "n_iter_no_change"),
        "latent_dim": ("levels",),
        "penalty": ("penalty_weight",),
        "noise": ("noise_level",),
    }.items():
        beside = [name for name in names if name in flat]
        if isinstance(flat.get(owner), Mapping) and beside:
            raise ValueError(f"{beside[0]} is a field of {owner}, which is given as a part: write it into [{owner}]")


def _taken(flat: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Some flat parameters, by the names of a part's fields; they are taken out."""
    return {new: flat.pop(old) for old, new in names.items() if old in flat}


def _set(flat: dict[str, Any], name: str, part: Part) -> None:
    """Set a parameter to a part, or to its word where it has the defaults."""
    flat[name] = part if part.changed() else part.kind


def _fields(kind: type[Part], values: Mapping[str, Any]) -> Part:
    """A part of those values that it has fields for; the others were ignored."""
    return kind(**{name: value for name, value in values.items() if name in kind.options()})


def _latent_dim(flat: dict[str, Any]) -> None:
    n_levels, width = flat.pop("levels", 1), (*flat.get("hidden_layer_sizes", ()), 200)[0]
    if n_levels > 1 and not isinstance(flat.get("latent_dim", "auto"), (tuple, list)):
        is_conv = flat["conv now"] or flat.get("network") == "conv"
        known = {} if is_conv or width == 200 else {"width": width}
        flat["latent_dim"] = Ladder(n_levels, flat.get("latent_dim", "auto"), **known)
        _taken(flat, {"hidden_layer_sizes": "", "activation": ""})


def _network(flat: dict[str, Any]) -> None:
    asked = _taken(flat, {"hidden_layer_sizes": "hidden_layer_sizes", "activation": "activation"})
    word = flat.get("network", "auto")
    if asked and (word == "mlp" or (word == "auto" and not flat["conv now"])) and MLP(**asked).changed():
        flat["network"] = MLP(**asked)


def _posterior(flat: dict[str, Any]) -> None:
    names = {"inference": "inference", "covariance": "covariance", "input_dropout": "input_dropout"}
    asked = _taken(flat, names | {"n_refinement_steps": "n_refinement_steps"})
    word, family = asked.pop("inference", "amortized"), flat.get("posterior", "gaussian")
    if not asked and word == "amortized" and "posterior" not in flat:
        return
    n_steps = asked.pop("n_refinement_steps", 100)
    if word in ("mean_field", "mcem"):
        return _set(flat, "posterior", {"mean_field": MeanField, "mcem": MCEM}[word](n_steps))
    if word == "shared":
        return _set(flat, "posterior", Shared())
    refined = {"n_refinement_steps": n_steps} if word == "refined" else {}
    if family in ("gaussian", "amortized", "flow"):
        _set(flat, "posterior", _fields(FlowPosterior if family == "flow" else Amortized, asked | refined))


def _prior(flat: dict[str, Any]) -> None:
    asked = _taken(flat, {"n_prior_components": "n_components"})
    kind = {"mixture": MixturePrior, "vamp": VampPrior}.get(str(flat.get("prior")))
    if asked and kind is not None:
        _set(flat, "prior", kind(**asked))


def _objective(flat: dict[str, Any]) -> None:
    names = {name: name for name in ("gradient", "n_samples", "kl_weight", "free_bits", "trim_fraction")}
    asked = _taken(flat, names | {"kl_warmup_steps": "warmup_steps"})
    kinds = {"elbo": ELBO, "elbo_sampled": SampledELBO, "iwae": IWAE}
    word = flat.get("objective", "elbo")
    if flat.get("posterior") == "mcem" or isinstance(flat.get("posterior"), MCEM):
        flat["objective"] = "elbo"  # it had none
    elif asked and word in kinds:
        _set(flat, "objective", _fields(kinds[word], ({"n_samples": 1} if word == "iwae" else {}) | asked))


def _likelihood(flat: dict[str, Any]) -> None:
    names = {name: name for name in ("scale", "min_scale", "standardize", "missingness", "binarize")}
    asked = _taken(flat, names | {"n_logistics": "n_components"})
    asked["standardize"] = asked.get("standardize") is not False
    word = flat.get("likelihood", "auto")
    known: dict[str, type[Likelihood]] = {**LIKELIHOODS, "columns": ColumnLikelihoods}
    if word not in ("auto", *known):
        return
    binarize = asked.get("binarize")
    kind = BernoulliLikelihood if binarize else known[flat["likelihood now"] if word == "auto" else word]
    if kind in (GaussianLikelihood, ColumnLikelihoods) and asked.get("scale", "auto") not in (
        "auto", "shared", "feature", "decoder",
    ):  # fmt: skip
        asked.pop("min_scale", None)  # it bounded nothing
    part = _fields(kind, asked)
    if word != "auto" or part.changed():
        _set(flat, "likelihood", part)


def _optimizer(flat: dict[str, Any]) -> None:
    asked = _taken(flat, OPTIMIZER)
    if asked:
        if asked.get("lr") == flat["lr then"]:
            asked["lr"] = "auto"
        _set(flat, "optimizer", Adam(**asked))


def _early_stopping(flat: dict[str, Any]) -> None:
    part = EarlyStopping(**_taken(flat, EARLY_STOPPING))
    if part.changed() and flat.get("early_stopping", True) is True:
        flat["early_stopping"] = part


def _penalty(flat: dict[str, Any]) -> None:
    weight = flat.pop("penalty_weight", 0.1)
    if flat.get("penalty") in ("l1", "kl"):
        _set(flat, "penalty", {"l1": L1Penalty, "kl": KLPenalty}[flat["penalty"]](weight))


def _noise(flat: dict[str, Any]) -> None:
    size = flat.pop("noise_level", 0.3)
    if flat.get("noise") in ("hide", "normal"):
        _set(flat, "noise", {"hide": MaskingNoise, "normal": GaussianNoise}[flat["noise"]](size))


def upgraded(record: Any) -> Any:
    """The record of a saved model, and the records in it, converted from format 1 or 2 to format 3."""
    if isinstance(record, list):
        return [upgraded(each) for each in record]
    if not isinstance(record, dict):
        return record
    new = {name: upgraded(value) for name, value in record.items() if name != "parameters"}
    if "schema" in record:
        new["schema"] = _renamed(record["schema"], SCHEMA)
        new["schema"]["columns"] = _columns(record["schema"].get("columns"))
    if "parameters" in record:
        schema = new.get("schema", {})
        shape = schema.get("event_shape", ())
        parameters = upgraded_parameters(
            record["class"], record["parameters"], schema.get("likelihood", "gaussian"),
            conv=len(shape) == 3 and min(shape[1:]) >= CONV_MIN_SIDE,
        )  # fmt: skip
        if record["class"] == "VAEOutlierDetector" and record.get("estimator") is not None:
            parameters |= {"trim_fraction": "auto", "n_steps": "auto", "layout": "auto"}  # of the default autoencoders
        new["parameters"] = {name: plain(value) for name, value in parameters.items()}
    if "columns" in record:
        new["columns"] = _columns(record["columns"])
    return new


def _columns(columns: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    if columns is None:
        return None
    renamed = [_renamed(column, COLUMN) for column in columns]
    return [{**c, "kind": "category"} if c.get("kind") == "level" else c for c in renamed]


def _renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in record.items()}
