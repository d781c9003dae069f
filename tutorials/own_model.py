"""A model of your own: a mixture of factor analyzers, trained, scored, sampled, saved and resumed by the library.

    python tutorials/own_model.py [folder]

p(x) = Σ_k π_k N(x; μ_k, W_k W_kᵀ + diag ψ) (Ghahramani & Hinton, 1996): K linear models of D latent variables each,
whose density is known, so it is an ``ExplicitModel``. A model with latent variables would be a ``Model`` with a prior
and p(x|z), and be fitted with a ``Posterior`` and an ``Objective``, which stand as None here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_iris
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from lowerbound import Batch, ExplicitModel, Fitted, Gaussian, fit
from lowerbound.data.schema import infer_schema
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch


class FactorAnalyzers(ExplicitModel):
    """Mixture of ``n_components`` factor analyzers of ``latent_dim`` latent variables each."""

    log_unit = None  # x is in the user's units

    def __init__(self, x: Tensor, n_components: int, latent_dim: int, seed: int = 0) -> None:
        super().__init__()
        generator = make_generator(seed, "weights")
        start = x[torch.randperm(len(x), generator=generator)[:n_components]]
        W = 0.5 * torch.randn(n_components, x.shape[1], latent_dim, generator=generator) * x.std(0)[:, None]
        self.mean, self.W = nn.Parameter(start), nn.Parameter(W)
        self.log_psi, self.logits = nn.Parameter(2 * x.std(0).log()), nn.Parameter(torch.zeros(n_components))

    def log_prob(self, batch: Batch) -> Tensor:
        """log p of the observed entries, shape (B,)."""
        seen = batch.mask[:, None]  # (B, 1, F); an entry that is missing adds log N(0; 0, 1/2π) = 0
        mean = torch.where(seen, self.mean, 0.0)
        W = torch.where(seen[..., None], self.W, 0.0)
        psi = torch.where(seen, self.log_psi.exp(), 0.5 / torch.pi)
        each = LowRankMultivariateNormal(mean, W, psi).log_prob(batch.seen[:, None])
        return (self.logits.log_softmax(0) + each).logsumexp(1)

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """Draws of x, or the means of drawn components, shape (n, F)."""
        u = noise.uniform((1, n), self.mean)[0]
        k = torch.searchsorted(self.logits.softmax(0).cumsum(0), u).clamp_max(len(self.mean) - 1)
        z, epsilon = (noise.normal((1, n, size), self.mean)[0] for size in (self.W.shape[2], self.W.shape[1]))
        x = self.mean[k] + torch.einsum("nfd,nd->nf", self.W[k], z) + (0.5 * self.log_psi).exp() * epsilon
        return self.mean[k] if mean else x


class StopAtEpoch80(Watch):
    """Interrupts training."""

    def on_epoch(self, training: Training, record: dict) -> None:
        """Note how far training is."""
        self.epoch = training.progress.epoch

    def should_stop(self) -> bool:
        """Whether to stop here."""
        return self.epoch == 80

    epoch = 0


def main(folder: Path) -> dict[str, float]:
    """Fit irises, once in one go and once interrupted and resumed; score, sample, save and load."""
    X = load_iris().data
    train, test = X[::2], X[1::2]
    new = lambda: FactorAnalyzers(torch.tensor(train, dtype=torch.float32), 3, 1)  # noqa: E731
    schema = infer_schema(train, likelihood="gaussian", standardize=False)
    fitted, resumed = (Fitted(new(), schema=schema) for _ in range(2))
    rows, how = fitted.rows(train), {"max_epochs": 200, "batch_size": 25, "lr": 0.02}
    fit(fitted.model, None, None, rows, **how)
    fit(resumed.model, None, None, rows, **how, checkpoint=folder / "checkpoint", watch=StopAtEpoch80())
    fit(resumed.model, None, None, rows, **how, checkpoint=folder / "checkpoint")
    fitted.save(folder / "model")
    loaded = Fitted.load(folder / "model", new())
    found = {"mixture": loaded.log_likelihood(test), "resumed": resumed.log_likelihood(test)}
    found["one Gaussian"] = Gaussian().fit(train).log_likelihood(test)
    print(*(f"{name:>12}: log p(x) {log_p}" for name, log_p in found.items()), sep="\n")
    print("five irises that it drew:", *loaded.sample(5).round(1).tolist(), sep="\n  ")
    return {name: log_p.value for name, log_p in found.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_model"))
