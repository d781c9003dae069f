"""The bound of a fit whose "auto" keeps one z of a whole sequence or text in use."""

from __future__ import annotations

from lowerbound.assembly.whole_sequence import bound_in_use
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.parameters.parts import ELBO, IWAE, SampledELBO


class WarmedBound(GradientEstimator):
    """An estimator with an ``objective`` of which "auto" is the ELBO whose KL term rises, where z is of the whole."""

    @property
    def _n_shared(self) -> int:
        """D of one z of a whole sequence or text; 0 where there is none."""
        raise NotImplementedError

    def _bound(self, n_steps: int = 0) -> ELBO | SampledELBO | IWAE:
        """The bound that is raised in a fit of so many steps."""
        part = self._part("objective")
        return bound_in_use(self._n_shared, n_steps) if part == "auto" else part

    def _kl_weight(self) -> float:
        part = self._bound()
        return 1.0 if isinstance(part, IWAE) else min(1.0, part.kl_weight)

    def _free_nats(self) -> float:
        part = self._bound()
        return part.free_bits * self._n_shared if isinstance(part, ELBO) else 0.0
