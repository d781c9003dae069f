"""Models with latent variables: any, and those whose entries are independent given z."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, Self

from torch import Tensor, nn

from lowerbound.core.batch import Batch
from lowerbound.core.draw import Draw, Infer, Objective, Prior
from lowerbound.distributions.likelihoods.likelihood import Likelihood, event_sum
from lowerbound.distributions.noise import Noise


class Model(nn.Module):
    """A latent-variable model p(x, z) = p(z) p(x|z).

    A subclass supplies ``prior`` and p(x|z): ``log_px``, ``mean_x`` and ``draw_x``, and for imputation and outlier
    scores ``log_px_by_entry``, ``log_px_and_missing`` and ``draw_missing``. ``ElementwiseModel`` supplies them all from
    one distribution for every entry.

    Attributes
    ----------
    log_unit : Tensor, shape (*event), or None
        log of the user's units in one unit of x; None where x is discrete.
    """

    log_unit: Tensor | None

    def __init__(self) -> None:
        super().__init__()

    def given(self, context: Tensor | None) -> Self:
        """The same model with its conditionals given a context.

        Parameters
        ----------
        context : Tensor, shape (B, C), or None
            c, what is known of each row beforehand. None is the model itself.

        Raises
        ------
        TypeError
            If the model can't be given a context.
        """
        if context is not None:
            raise TypeError(f"{type(self).__name__} can't be given a context")
        return self

    def prior(self) -> Prior:
        """p(z)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its prior")

    def prior_of(self, batch: Batch) -> Prior:
        """p(z), or p(z|c) given the context of the rows of a batch."""
        return self.given(batch.context).prior()

    def penalty(self) -> Tensor | float:
        """−log p(θ)/n of parameters θ that have a prior, in nats: what the fit of n rows adds to the loss of each."""
        return 0.0

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x|z) of the observed entries.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        Tensor, shape (S, B)
            In nats, the density being that in the user's units.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define log p(x|z)")

    def log_px_by_entry(self, batch: Batch, z: Tensor) -> Tensor:
        """log p of every entry given z.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        Tensor, shape (S, B, *event)
            In nats, the density being that in the model's units.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define the log p of single entries")

    def mean_x(self, z: Tensor) -> Tensor:
        """E[x|z] for z of shape (S, B, D), shape (S, B, *event); of categories the most probable one."""
        raise NotImplementedError(f"{type(self).__name__} does not define E[x|z]")

    def draw_x(self, z: Tensor, noise: Noise) -> Tensor:
        """Draw one x for every z.

        Parameters
        ----------
        z : Tensor, shape (S, B, D)
            S latent vectors for each of B rows.
        noise : Noise
            The random numbers.

        Returns
        -------
        Tensor, shape (S, B, *event)
        """
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from p(x|z)")

    def log_px_and_missing(self, batch: Batch, z: Tensor) -> tuple[Tensor, Likelihood]:
        """log p(x_o|z) of the observed entries and p(x_m|x_o, z) of the missing ones, by one pass over z.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        log_px : Tensor, shape (S, B)
            In nats, the density being that in the user's units.
        p : Likelihood
            p(x_m|x_o, z).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define p(x_m|x_o, z)")

    def draw_missing(self, batch: Batch, z: Tensor, noise: Noise) -> Tensor:
        """Draw one x_m ~ p(x_m|x_o, z) for every z.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.
        noise : Noise
            The random numbers.

        Returns
        -------
        Tensor, shape (S, B, *event)
            Its values where entries are observed have no meaning.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from p(x_m|x_o, z)")

    def log_joint(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z).

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        Tensor, shape (S, B)
            In nats, the density of x being that in the user's units.
        """
        return self.log_px(batch, z) + self.prior_of(batch).log_prob(z)

    knows_log_prob: ClassVar[bool] = False  # exactly: ``log_prob`` is defined

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) of the observed entries, in nats and the user's units, shape (B,); few models know it."""
        raise NotImplementedError(f"{type(self).__name__} can't integrate its latent variables out")

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """Draw latent vectors for every row from the posterior, and score x under each.

        Parameters
        ----------
        batch : Batch
            B rows.
        posterior : Infer
            It gives q(z|x).
        objective : Objective
            Its ``samples`` is S, the number of latent vectors for each row; its ``gradient`` says how they are made.
        noise : Noise
            The random numbers.

        Returns
        -------
        Draw
            z, log p(x|z), and the prior and posterior that score z.
        """
        q = posterior(batch, noise)
        z = q.rsample((objective.samples,), noise)
        if objective.gradient == "score":
            z = z.detach()
        density = q.detach() if objective.gradient == "fixed_density" else q
        return Draw(z, self.log_px(batch, z), q.prior or self.prior_of(batch), q, density, batch.share)


class Missingness(Protocol):
    """p(s|x) of which entries are missing.

    ``start`` takes some of the rows to be fitted, and how many these are; ``log_prob`` is log p(s|x_o, z) with the
    missing entries integrated out under p = p(x|z), in nats, (S, B); ``among_missing`` is p(x_m|z, s, x_o);
    ``penalty`` as in ``Model``.
    """

    def start(self, batch: Batch, n_rows: int, /) -> None: ...  # noqa: D102
    def penalty(self) -> Tensor: ...  # noqa: D102
    def log_prob(self, batch: Batch, p: Any, /) -> Tensor: ...  # noqa: D102
    def among_missing(self, batch: Batch, p: Any, /) -> Likelihood: ...  # noqa: D102


class ElementwiseModel(Model):
    """A model whose entries are independent given z; a subclass supplies ``prior`` and ``likelihood``.

    Attributes
    ----------
    missingness : Missingness or None
        It enters log p(x|z), which is then log p(x_o, s|z).
    """

    missingness: Missingness | None

    def __init__(self) -> None:
        super().__init__()
        self.missingness = None

    def penalty(self) -> Tensor | float:
        """The penalty of the model of which entries are missing."""
        return 0.0 if self.missingness is None else self.missingness.penalty()

    def likelihood(self, z: Tensor) -> Likelihood:
        """p(x|z), one distribution for every entry, for z of shape (S, B, D)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its likelihood")

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x_o|z), or log p(x_o, s|z) with a model of which entries are missing.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        Tensor, shape (S, B)
            In nats, the density being that in the user's units.
        """
        return self.log_px_under(batch, self.given(batch.context).likelihood(z))

    def log_px_under(self, batch: Batch, p: Likelihood) -> Tensor:
        """``log_px`` for a likelihood that was computed before.

        Parameters
        ----------
        batch : Batch
            B rows.
        p : Likelihood
            p(x|z), for S latent vectors of each row.

        Returns
        -------
        Tensor, shape (S, B)
            In nats, the density being that in the user's units.
        """
        log_px = event_sum(p.log_prob(batch.x), batch.mask, batch.complete)
        if self.log_unit is not None:  # |dx̃/dx| = 1/unit for every observed entry
            log_px = log_px - event_sum(self.log_unit, batch.mask, batch.complete)
        return log_px if self.missingness is None else log_px + self.missingness.log_prob(batch, p)

    def log_px_by_entry(self, batch: Batch, z: Tensor) -> Tensor:
        """log p of every entry given z.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        Tensor, shape (S, B, *event)
            In nats, the density being that in the model's units.
        """
        return self.given(batch.context).likelihood(z).log_prob(batch.x)

    def mean_x(self, z: Tensor) -> Tensor:
        """E[x|z], shape (S, B, *event)."""
        return self.likelihood(z).mean

    def draw_x(self, z: Tensor, noise: Noise) -> Tensor:
        """Draw one x for every z.

        Parameters
        ----------
        z : Tensor, shape (S, B, D)
            S latent vectors for each of B rows.
        noise : Noise
            The random numbers.

        Returns
        -------
        Tensor, shape (S, B, *event)
        """
        return self.likelihood(z).sample(noise)

    def log_px_and_missing(self, batch: Batch, z: Tensor) -> tuple[Tensor, Likelihood]:
        """log p(x_o|z), and p(x_m|z): given z, missing entries are independent of the observed ones.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.

        Returns
        -------
        log_px : Tensor, shape (S, B)
            In nats, the density being that in the user's units.
        p : Likelihood
            p(x_m|z), or p(x_m|z, s) with a model of which entries are missing.
        """
        p = self.given(batch.context).likelihood(z)
        return self.log_px_under(batch, p), self._missing(batch, p)

    def draw_missing(self, batch: Batch, z: Tensor, noise: Noise) -> Tensor:
        """Draw one x_m ~ p(x_m|z) for every z.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)
            S latent vectors for each row.
        noise : Noise
            The random numbers.

        Returns
        -------
        Tensor, shape (S, B, *event)
            Its values where entries are observed have no meaning.
        """
        return self._missing(batch, self.given(batch.context).likelihood(z)).sample(noise)

    def _missing(self, batch: Batch, p: Likelihood) -> Likelihood:
        return p if self.missingness is None else self.missingness.among_missing(batch, p)
