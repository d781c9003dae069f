"""The likelihoods: a part for each, which says what may be asked of it and where it is. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lowerbound.parameters.parameter import Part, option

SCALES = ("auto", "shared", "feature", "decoder")


class Likelihood(Part):
    """A likelihood p(x|z).

    Attributes
    ----------
    file : str or None
        The file of ``distributions/likelihoods`` that has its ``KIND``; None for columns, which have one each.
    """

    file: ClassVar[str | None]

    @property
    def head_options(self) -> dict[str, Any]:
        """The fields that its head is made from."""
        return {name: getattr(self, name) for name in ("scale", "min_scale", "n_components") if hasattr(self, name)}


def _min_scale() -> float:
    return option(
        0.01,
        "lower bound of a learned σ, in standard deviations of the feature",
        (),
        float,
        0,
        1,
        open_low=True,
    )


@dataclass(frozen=True, repr=False)
class BernoulliLikelihood(Likelihood):
    """Entries that are 0 or 1: Bernoulli(x; p).

    Parameters
    ----------
    binarize : {None, "sample", "threshold"}
        Grey values (uint8, or real in [0, 1]) become 0 or 1: redrawn as Bernoulli for every minibatch, or cut at ½.
    """

    kind = "bernoulli"
    file: ClassVar[str | None] = "bernoulli"
    binarize: str | None = option(
        None,
        "make grey values 0 or 1: redrawn for every batch, or cut at one half",
        (None, "sample", "threshold"),
    )


@dataclass(frozen=True, repr=False)
class CategoricalLikelihood(Likelihood):
    """Entries that are one of the categories 0, 1, 2, …: a softmax for each."""

    kind = "categorical"
    file: ClassVar[str | None] = "categorical"


@dataclass(frozen=True, repr=False)
class DiscretizedLogistic(Likelihood):
    """Bytes: the mass that a logistic density, or a mixture of them, puts on each of 256 grey levels.

    Kingma et al., 2016, arXiv:1606.04934, section 6.2; Salimans et al., 2017, arXiv:1701.05517, eq. 2.

    Parameters
    ----------
    n_components : int
        Logistics that are mixed for each entry.
    scale : {"auto", "shared", "feature", "decoder"} or float
        The standard deviation: a number of grey levels, or learned: one, one for each feature, or a network of z
        ("auto").
    """

    kind = "discretized_logistic"
    file: ClassVar[str | None] = "discretized_logistic"
    n_components: int = option(1, "logistics mixed for each entry", (), int, 1)
    scale: str | float = option(
        "auto",
        "standard deviation: so many grey levels, or learned (one, or one a feature), or from the decoder",
        SCALES,
        float,
        0,
        open_low=True,
    )

    def _check(self) -> None:
        if self.n_components > 1 and self.scale not in ("auto", "decoder"):
            raise ValueError(
                f"DiscretizedLogistic: a mixture (n_components={self.n_components}) has its scales from the decoder: "
                f"leave scale='auto', got {self.scale!r}"
            )


@dataclass(frozen=True, repr=False)
class GaussianLikelihood(Likelihood):
    """Real values: N(x; μ, σ²) for every entry.

    Parameters
    ----------
    scale : {"auto", "unit", "shared", "feature", "decoder"} or float
        σ. "unit" is 1 in the units that the model works in (a standard deviation where features are standardized); a
        number is in the user's units; the others are learned: one, one for each feature, or a network of z. "auto" is
        "feature", and "unit" in an ``Autoencoder``.
    min_scale : float
        Lower bound of a learned σ, as a part of the feature's standard deviation; without one, two equal columns would
        send the density to infinity.
    standardize : bool
        Standardize features inside; log p(x) stays in the user's units.
    missingness : {None, "self_masking"}
        "self_masking" fits which values are missing too, each by its own value and by observed ones,
        P(x_j missing) = Φ(a_j x_j + b_j + c_j·x_o) (not-MIWAE: Ipsen et al., 2021). All log-densities are then of the
        observed entries and of which they are.
    """

    kind = "gaussian"
    file: ClassVar[str | None] = "normal"
    scale: str | float = option(
        "auto",
        "σ: 1, a number in your units, learned (one, or one a feature), or from the decoder",
        ("auto", "unit", *SCALES[1:]),
        float,
        0,
        open_low=True,
    )
    min_scale: float = _min_scale()
    standardize: bool = option(True, "standardize features", (True, False))
    missingness: str | None = option(
        None,
        "model of the mask; self_masking: the chance that an entry is missing depends on its own value",
        (None, "self_masking"),
    )

    def _check(self) -> None:
        if "min_scale" in self.changed() and (self.scale == "unit" or not isinstance(self.scale, str)):
            raise ValueError(f"GaussianLikelihood: min_scale bounds a learned σ, and scale={self.scale!r} is fixed")


@dataclass(frozen=True, repr=False)
class ColumnLikelihoods(Likelihood):
    """A table of several kinds: each column has a density, or probabilities, of its own (``ColumnSchema``).

    Parameters
    ----------
    scale : {"auto", "unit", "feature", "decoder"}
        σ of numbers: 1 in standardized units, one for each column, or a network of z ("auto").
    min_scale : float
        Lower bound of a learned σ, as a part of the column's standard deviation.
    """

    kind = "columns"
    file: ClassVar[str | None] = None
    scale: str = option(
        "auto", "σ of numbers: 1, one a column, or from the decoder", ("auto", "unit", "feature", "decoder")
    )
    min_scale: float = _min_scale()

    def _check(self) -> None:
        if "min_scale" in self.changed() and self.scale == "unit":
            raise ValueError("ColumnLikelihoods: min_scale bounds a learned σ, and scale='unit' is fixed")


# in this order: "auto" takes the first that suits the data
LIKELIHOODS: dict[str, type[Likelihood]] = {
    each.kind: each for each in (BernoulliLikelihood, CategoricalLikelihood, DiscretizedLogistic, GaussianLikelihood)
}
