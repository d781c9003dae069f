"""Ways to get q(z|x) for the rows of a batch: one encoder, numbers of every row's own, or one for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.core import Batch, Draw, LatentDistribution, Objective, ObjectiveState, Posterior, Prior
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian, GaussianPrior
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.warning import warn

PriorFrom = Callable[[Batch], Prior]  # ``Model.prior_of``
DrawFrom = Callable[..., Draw]  # ``Model.draw``: (batch, posterior, objective, noise) → Draw


class FeaturePosterior(Posterior):
    """A posterior in two steps: features of each row, and q(z|x) as a function of them.

    ``Refined`` optimizes the features of a row directly.

    Parameters
    ----------
    prior : callable, optional
        ``model.prior_of``, needed if p(z) is not N(0, I) or the posterior is not Gaussian.
    """

    def __init__(self, prior: PriorFrom | None = None) -> None:
        super().__init__()
        self.prior = prior

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The features of the rows: tensors whose first dimension is the rows'."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its features are")

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x) with these features."""
        return self.prior_where_unobserved(DiagonalGaussian(*features), batch)

    def forward(self, batch: Batch, noise: Noise | None = None) -> LatentDistribution:
        """q(z|x) for the rows of a batch."""
        return self.given(self.features(batch), batch)

    def prior_where_unobserved(self, q: LatentDistribution, batch: Batch) -> LatentDistribution:
        """q(z|x), and p(z) for the rows of which nothing is observed.

        That is their exact posterior: log p(x) = 0 and KL = 0 for such a row, and its gradients are zero.
        """
        if batch.missing is None:
            return q
        unknown = ~batch.mask.flatten(1).any(1)
        if isinstance(q, RelativeToPrior):
            return q.prior_where(unknown)
        prior = None if self.prior is None else self.prior(batch)
        if prior is None or isinstance(prior, GaussianPrior):
            return gaussian_where(unknown, q, prior)
        return q if not self.training and not unknown.any() else PriorWhereUnobserved(unknown, q, prior)


class Amortized(FeaturePosterior):
    """q(z|x) from an encoder that all rows share (Kingma & Welling, 2014, section 2.1).

    If the data have gaps, the encoder also reads which entries are missing (Mattei & Frellsen, 2019,
    arXiv:1812.02633, section 3.1), and the posterior of a row without any observed entry is the prior.

    Parameters
    ----------
    encoder : Module
        ``features(x, mask, missing)``, which reads zeros where the mask is False, and ``head(*features)`` → q(z|x).
    prior : callable, optional
        ``model.prior_of``, needed if p(z) is not N(0, I) or the posterior is not Gaussian.
    """

    encoder: Any

    def __init__(self, encoder: nn.Module, prior: PriorFrom | None = None) -> None:
        super().__init__(prior)
        self.encoder = encoder

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The encoder's features of the observed entries of ``batch.x``, with zeros elsewhere."""
        mask = None if batch.complete else batch.mask
        return self.encoder.features(batch.x, mask, batch.missing, batch.context)

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x) by the encoder's head."""
        q = self.encoder.head(*features)
        return self.prior_where_unobserved(q.given(batch.context) if isinstance(q, RelativeToPrior) else q, batch)


def gaussian_where(unknown: Tensor, q: LatentDistribution, prior: GaussianPrior | None) -> LatentDistribution:
    """q(z|x), and a Gaussian prior, by default N(0, I), for the rows where ``unknown`` (B,) is True."""
    m, log_s = (0.0, 0.0) if prior is None else (prior.mean, prior.log_scale)
    unknown = unknown.unsqueeze(-1)
    mean = torch.where(unknown, m, q.mean)
    if isinstance(q, FullGaussian):
        factor = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device) if prior is None else prior.scale_tril
        return FullGaussian(mean, torch.where(unknown.unsqueeze(-1), factor, q.scale_tril))
    assert isinstance(q, DiagonalGaussian)
    return replace(q, mean=mean, log_scale=torch.where(unknown, log_s, q.log_scale))


@runtime_checkable
class RelativeToPrior(Protocol):
    """A q(z|x) whose parameters are relative to its prior's, as those of a ladder: zeros make it the prior."""

    def prior_where(self, unknown: Tensor) -> LatentDistribution:
        """The same q(z|x), and p(z) for the rows where ``unknown`` (B,) is True."""
        ...

    def given(self, context: Tensor | None) -> LatentDistribution:
        """The same q(z|x, c) relative to p(z|c), for a context (B, C)."""
        ...


class PriorWhereUnobserved:
    """q(z|x), and p(z) for the rows where ``unknown`` (B,) is True, whatever distributions the two are."""

    N_MOMENTS = 4096  # draws of p for its mean and covariance

    def __init__(self, unknown: Tensor, q: LatentDistribution, prior: Prior) -> None:
        self.unknown: Tensor
        self.q: LatentDistribution
        self.prior: Prior
        self.unknown, self.q, self.prior = unknown, q, prior
        self._own: Noise | None = None

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, shape (S, B)."""
        return torch.where(self.unknown, self.prior.log_prob(z), self.q.log_prob(z))

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape (*shape, B, D)."""
        z = self.q.rsample(shape, noise)
        of_p = self.prior.rsample((*shape, len(self.unknown)), self._beside(noise))
        return torch.where(self.unknown.unsqueeze(-1), of_p, z)

    def _beside(self, noise: Noise) -> Noise:
        """The noise for p; noise that all rows share gets its own stream, so that other rows' noise is unchanged."""
        if not noise.shared:
            return noise
        if self._own is None:
            generator = noise.generator
            self._own = Noise(make_generator(generator.initial_seed(), "prior", generator.device), shared=True)
        return self._own

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and covariance (D, D) of p, over fixed draws."""
        mean = self.q.mean
        noise = Noise(make_generator(0, "moments", mean.device))
        z = self.prior.rsample((1, self.N_MOMENTS), noise)[0].to(mean)
        return z.mean(0), z.mT.cov().reshape(z.shape[1], z.shape[1])

    @property
    def mean(self) -> Tensor:
        """E[z], for p by 4,096 draws, shape (B, D)."""
        return torch.where(self.unknown.unsqueeze(-1), self._moments[0], self.q.mean)

    @property
    def scale(self) -> Tensor:
        """Standard deviations, for p by 4,096 draws, shape (B, D)."""
        return torch.where(self.unknown.unsqueeze(-1), self._moments[1].diagonal().sqrt(), self.q.scale)

    @property
    def scale_tril(self) -> Tensor:
        """Cholesky factors of the covariance, for p by 4,096 draws, shape (B, D, D)."""
        factor = torch.linalg.cholesky(self._moments[1])
        return torch.where(self.unknown[:, None, None], factor, self.q.scale_tril)

    def kl_to_standard_normal(self) -> None:
        """None: there is no closed form."""
        return

    def detach(self) -> PriorWhereUnobserved:
        """The same, through whose q no gradient flows."""
        return PriorWhereUnobserved(self.unknown, self.q.detach(), self.prior)


class MaskedInput(Posterior):
    """In training the encoder sees a part of x while the likelihood scores all of it.

    A third of the rows is read whole; of each other row a share of the entries, uniform between 0 and ``most``, is
    hidden. The objective is a lower bound for any input of the encoder (Im et al., 2017, arXiv:1511.06406), and hidden
    entries have to be inferred from the rest. In evaluation nothing is hidden.

    Parameters
    ----------
    posterior : Module
        Called with a batch, reads the entries where its mask is True.
    most : float
        The largest share of entries that is hidden.
    """

    WHOLE = 1 / 3

    def __init__(self, posterior: Posterior, most: float) -> None:
        super().__init__()
        self.posterior: Posterior
        self.most: float
        self.posterior, self.most = posterior, most
        self.keeps_rows: bool = posterior.keeps_rows

    def forward(self, batch: Batch, noise: Noise | None = None) -> LatentDistribution:
        """q(z|x) from the entries of each row that aren't hidden, (B, D)."""
        if not self.training or noise is None:
            return self.posterior(batch, noise)
        n_rows, n_entries = len(batch.x), batch.x[0].numel()
        uniform = noise.uniform((1, n_rows, 1 + n_entries), batch.x)[0]
        share = self.most * (uniform[:, :1] - self.WHOLE).clamp_min(0) / (1 - self.WHOLE)  # (B, 1)
        return self.posterior(batch.with_hidden((uniform[:, 1:] < share).view_as(batch.x)), noise)

    def for_new_rows(self) -> Posterior:
        """The posterior that it was given, for rows that were not fitted."""
        return self.posterior.for_new_rows()

    def row_parameters(self) -> list[nn.Parameter]:
        """The single rows' parameters of the posterior that it was given."""
        return self.posterior.row_parameters()


class Shared(FeaturePosterior):
    """One q(z) for all rows, independent of x: too restrictive a family, for comparison."""

    def __init__(self, latent_dim: int, prior: PriorFrom | None = None) -> None:
        super().__init__(prior)
        self.mean: nn.Parameter = nn.Parameter(torch.zeros(latent_dim))
        self.log_scale: nn.Parameter = nn.Parameter(torch.zeros(latent_dim))

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The same mean and scale for each of the B rows."""
        shape = (len(batch.x), len(self.mean))
        return self.mean.expand(shape), self.log_scale.expand(shape)


class StartAtPrior(FeaturePosterior):
    """q(z|x) = N(0, I), the start of an optimization of each row's own q."""

    def __init__(self, latent_dim: int, prior: PriorFrom | None = None) -> None:
        super().__init__(prior)
        self.latent_dim = latent_dim

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """Zeros for every row."""
        zeros = batch.x.new_zeros(len(batch.x), self.latent_dim)
        return zeros, zeros


def _negative_bound(draw: Draw, state: ObjectiveState) -> Tensor:
    return draw.kl.sum(-1) - draw.log_px.mean(0)


class StillRisingWarning(UserWarning):
    """The bound of some rows was still rising when the search for their q(z|x) ended."""


class Refined(FeaturePosterior):
    """Start from another posterior and maximize each row's own bound, by Adam on the row's features.

    The features are m and log s of a diagonal Gaussian, the bottom-up features of a ladder, and the inputs of the
    networks of a chain or a flow.

    In training the starting posterior gets its gradient at the refined point (a semi-amortized posterior to first
    order; Kim et al., 2018, arXiv:1802.02550). The noise is seeded and shared by all rows, so that a row's posterior
    depends on that row alone.

    Parameters
    ----------
    start : FeaturePosterior
    draw : callable
        ``model.draw`` of the model whose bound is maximized.
    n_steps : int
        Steps of Adam in a round.
    n_rounds : int
        Rounds at most: a row's search ends with the first one that didn't raise its bound by more than 0.05 nats.
        One round is never judged.
    n_samples : int
        Draws of z in a step.
    betas : pair of float
        Of Adam.
    """

    N_SAMPLES = 4
    N_TO_JUDGE = 16  # draws that tell whether the bound has risen
    RISE = 0.05  # nats

    def __init__(
        self, start: FeaturePosterior, draw: DrawFrom, n_steps: int, lr: float = 0.05, n_rounds: int = 1,
        n_samples: int = N_SAMPLES, betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:  # fmt: skip
        super().__init__()
        self.start: FeaturePosterior
        self.draw: DrawFrom
        self.n_steps: int
        self.lr: float
        self.n_rounds: int
        self.start, self.draw, self.n_steps, self.lr, self.n_rounds = start, draw, n_steps, lr, n_rounds
        self.objective: Objective = Objective(_negative_bound, n_samples)
        self.betas: tuple[float, float] = betas

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The features of the starting posterior after the ascent."""
        initial = self.start.features(batch)
        begin = [t.detach().clone() for t in initial]
        refined = self._climb(batch, begin) if self.n_rounds == 1 else self._climb_in_rounds(batch, begin)
        return [a + (b - a).detach() for a, b in zip(initial, refined, strict=True)]

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x) by the starting posterior's second step."""
        return self.start.given(features, batch)

    def _climb_in_rounds(self, batch: Batch, features: list[Tensor]) -> list[Tensor]:
        """Climb while the bound rises; a round that lowered it is taken back."""
        rows = torch.arange(len(batch.x), device=batch.x.device)
        for _ in range(self.n_rounds):
            some, before = batch.subset(rows), [t[rows] for t in features]
            after = self._climb(some, before)
            gain, error = self._gain(some, before, after)
            for feature, new in zip(features, after, strict=True):
                feature[rows[gain > 0]] = new[gain > 0]
            rows = rows[(gain > self.RISE) & (gain > 3 * error)]
            if len(rows) == 0:
                return features
        warn(
            f"the bound of some rows still rises after {self.n_rounds * self.n_steps} steps of the search for their "
            f"q(z|x), so it is too low, and their codes are not at their best: set a higher n_steps of the posterior",
            StillRisingWarning,
        )
        return features

    @torch.no_grad()
    def _gain(self, batch: Batch, before: list[Tensor], after: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The rise of every row's bound and its standard error, both bounds on the same draws, (B,) each."""
        objective = Objective(_negative_bound, self.N_TO_JUDGE)
        log_w = []
        for features in (before, after):
            q, noise = self.given(features, batch), Noise(make_generator(0, "judge", batch.x.device), shared=True)
            log_w.append(self.draw(batch, lambda *_, q=q: q, objective, noise).log_w)
        gain = log_w[1] - log_w[0]
        return gain.mean(0), gain.std(0) / math.sqrt(len(gain))

    @torch.enable_grad()
    def _climb(self, batch: Batch, features: list[Tensor]) -> list[Tensor]:
        """Maximize E_q log p(x|z) − KL(q ‖ p(z)) of every row, in one round."""
        features = [t.detach().clone().requires_grad_() for t in features]
        optimizer = torch.optim.Adam(features, lr=self.lr, betas=self.betas)
        noise = Noise(make_generator(0, "refine", features[0].device), shared=True)
        for step in range(self.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (1 - step / self.n_steps)
            q = self.given(features, batch)
            draw = self.draw(batch, lambda *_, q=q: q, self.objective, noise)
            loss = _negative_bound(draw, ObjectiveState()).sum()
            for parameter, gradient in zip(features, torch.autograd.grad(loss, features), strict=True):
                parameter.grad = gradient
            optimizer.step()
        return [t.detach() for t in features]


class MeanField(Posterior):
    """m_i and s_i for every training row, with no encoder (stochastic variational inference).

    Their gradients are sparse: a step changes only the rows of its batch.
    """

    keeps_rows = True

    def __init__(self, n_rows: int, latent_dim: int, new_rows: Posterior) -> None:
        super().__init__()
        self.mean: nn.Embedding
        self.log_scale: nn.Embedding
        self.mean, self.log_scale = (_table(n_rows, latent_dim) for _ in range(2))
        self.new_rows = new_rows

    def forward(self, batch: Batch, noise: Noise | None = None) -> DiagonalGaussian:
        """q(z|x) of the rows ``batch.index``."""
        index = batch.index.to(self.mean.weight.device)
        return DiagonalGaussian(self.mean(index), self.log_scale(index))

    def for_new_rows(self) -> Posterior:
        """The posterior of rows that were not fitted."""
        return self.new_rows

    def row_parameters(self) -> list[nn.Parameter]:
        """m and log s of all rows."""
        return [cast(nn.Parameter, table.weight) for table in (self.mean, self.log_scale)]


def _table(n_rows: int, width: int) -> nn.Embedding:
    table = skip_init(nn.Embedding, n_rows, width, sparse=True)
    nn.init.zeros_(table.weight)  # type: ignore[arg-type]
    return table  # type: ignore[return-value]
