"""The priors p(z): a part for each, which says what may be asked of it and where it is. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lowerbound.parameters.parameter import Part, option


class Prior(Part):
    """A prior p(z).

    Attributes
    ----------
    file : str or None
        The file of ``models/priors`` that has its ``PRIOR``; N(0, I) has none.
    """

    file: ClassVar[str | None]


@dataclass(frozen=True, repr=False)
class NormalPrior(Prior):
    """The standard normal distribution N(0, I)."""

    kind = "normal"
    file: ClassVar[str | None] = None


@dataclass(frozen=True, repr=False)
class MixturePrior(Prior):
    """A mixture of Gaussians that is learned; the KL is then estimated from the draws.

    Parameters
    ----------
    n_components : int
    """

    kind = "mixture"
    file: ClassVar[str | None] = "mixture"
    n_components: int = option(100, "Gaussians in the mixture", (), int, 1)


@dataclass(frozen=True, repr=False)
class VampPrior(Prior):
    """The mixture of the encoder's q(z|u) over pseudo-inputs u that are learned, starting from rows of data.

    Tomczak & Welling, 2018, arXiv:1705.07120. The KL is then estimated from the draws.

    Parameters
    ----------
    n_components : int
        Pseudo-inputs.
    """

    kind = "vamp"
    file: ClassVar[str | None] = "vamp"
    n_components: int = option(100, "pseudo-inputs", (), int, 1)


@dataclass(frozen=True, repr=False)
class FlowPrior(Prior):
    """A coupling flow from N(0, I) that is learned; it needs ``pip install 'lowerbound[flows]'``."""

    kind = "flow"
    file: ClassVar[str | None] = "flow"


@dataclass(frozen=True, repr=False)
class ContextPrior(Prior):
    """A Gaussian p(z|c) that is learned, for a model that is given a context c.

    Sohn, Lee & Yan, 2015.

    Parameters
    ----------
    hidden_sizes : tuple of int
        Of the network from the context to the Gaussian's means and scales; () is linear: one Gaussian for each class.
    """

    kind = "context"
    file: ClassVar[str | None] = "context"
    hidden_sizes: tuple[int, ...] = option((), "hidden units from the context to p(z|c)", (), int, 1, many=True)


PRIORS: tuple[type[Prior], ...] = (NormalPrior, MixturePrior, VampPrior, FlowPrior, ContextPrior)
