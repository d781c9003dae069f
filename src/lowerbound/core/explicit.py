"""Models without latent variables, and the posterior that stands for theirs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lowerbound.core.batch import Batch
from lowerbound.core.draw import Draw, Infer, Objective, Posterior
from lowerbound.core.model import Model
from lowerbound.distributions.noise import Noise


class NoLatents:
    """Prior and posterior of a model without latent variables: a vector of no numbers, log-density 0, KL 0."""

    prior = None

    def __init__(self, n_rows: int, like: Tensor) -> None:
        like = like if like.is_floating_point() else like.float()
        self.mean: Tensor = like.new_zeros(n_rows, 0)
        self.scale: Tensor = self.mean
        self.scale_tril: Tensor = like.new_zeros(n_rows, 0, 0)

    def log_prob(self, z: Tensor) -> Tensor:
        """0 for every row, shape (S, B)."""
        return z.new_zeros(z.shape[:-1])

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Shape (*shape, B, 0)."""
        return self.mean.expand(*shape, *self.mean.shape)

    def kl_to_standard_normal(self) -> Tensor:
        """No groups, shape (B, 0)."""
        return self.mean

    def kl_from(self, q: NoLatents) -> Tensor:
        """No groups, shape (B, 0)."""
        return self.mean

    def detach(self) -> NoLatents:
        """Itself: it has no parameters."""
        return self


class ExplicitModel(Model):
    """A model without latent variables: it supplies log p(x) itself, so every bound becomes the exact likelihood."""

    knows_log_prob = True

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) of the observed entries, in nats and the user's units, shape (B,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its density")

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """Draw rows from the model.

        Parameters
        ----------
        n : int
            The number of rows.
        noise : Noise
            The random numbers.
        mean : bool
            Give means in place of draws: E[x], or E[x|k] of a drawn component k in a mixture.

        Returns
        -------
        Tensor, shape (n, *event)
        """
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from it")

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """The exact log p(x), with latent terms of zero.

        Parameters
        ----------
        batch : Batch
            B rows.
        posterior : Infer
            Not used: there are no latent variables.
        objective : Objective
            Not used: one evaluation is exact.
        noise : Noise
            Not used: nothing is drawn.

        Returns
        -------
        Draw
            Its ``log_px`` is log p(x), shape (1, B), in nats and the user's units.
        """
        log_px = self.log_prob(batch)
        nothing = NoLatents(len(log_px), log_px)
        return Draw(nothing.rsample((1,), noise), log_px[None], nothing, nothing, nothing, batch.share)


class NoPosterior(Posterior):
    """The posterior of a model without latent variables: a distribution over no numbers."""

    def forward(self, batch: Batch, noise: Noise | None = None) -> NoLatents:
        """A distribution over no numbers for every row."""
        return NoLatents(len(batch.x), batch.x)
