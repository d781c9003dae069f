"""Gaps of sequences filled by sequential Monte Carlo, against the exact conditional of a linear-Gaussian series."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lowerbound.core import NoPosterior, Posterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.sequences import SequenceRows, Sequences
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.sequence import SequenceModel
from lowerbound.models.vae import Decoder, LatentModel
from lowerbound.tasks.filling import filled

A, B, SIGMA = np.array([0.9, 0.6]), np.array([0.5, -0.8]), 0.4
GAPS = {0: (2, 5, 6, 7, 10), 1: (6, 10, 11)}  # steps of each column
T = 12


class Network(nn.Module):
    """z, x_{t−1} → A x_{t−1} + B z."""

    def forward(self, inputs):
        z, before = inputs[:, :-2], inputs[:, -2:]
        mean = before * torch.tensor(A, dtype=inputs.dtype)
        return (mean + z.sum(1, keepdim=True) * torch.tensor(B, dtype=inputs.dtype))[:, None]


class Autoregression(SequenceModel):
    """x_t = A x_{t−1} + B z_t + σε, x_0 = 0: the state is the last step."""

    def __init__(self, latent_dim):
        nn.Module.__init__(self)
        self.past, self.ends = SimpleNamespace(last=SimpleNamespace(numbers=torch.arange(2))), None
        head = NormalHead(Scale("fixed", torch.tensor(SIGMA, dtype=torch.float64), torch.zeros(())))
        self.step = LatentModel(Decoder(Network(), head), latent_dim, n_context=2).double()

    def begin(self, n, *_):
        return torch.zeros(n, 2, dtype=torch.float64)

    def read(self, batch, d, *_):
        return batch.x[:, -1]


class Poor(Posterior):
    """A q(z|x) that knows nothing of x, and is neither where the prior is nor as wide."""

    def forward(self, batch, noise=None):
        ones = torch.ones(len(batch.x), 1, dtype=torch.float64)
        return DiagonalGaussian(0.4 * ones, -0.3 * ones)


def covariance(latent_dim):
    """Of all steps one after another, (2T, 2T)."""
    noise = np.kron(np.eye(T), latent_dim * np.outer(B, B) + SIGMA**2 * np.eye(2))
    shift = np.eye(2 * T) - np.kron(np.eye(T, k=-1), np.diag(A))
    return np.linalg.solve(shift, np.linalg.solve(shift, noise).T)


def on(latent_dim, x, gaps, seed=0):
    sequences = Sequences.of(list(x))
    steps = RowsInMemory(
        torch.from_numpy(np.concatenate(x)), lambda raw, noise: raw, torch.ones(2, dtype=torch.bool),
        torch.device("cpu"), torch.from_numpy(~np.concatenate(gaps)),
    )  # fmt: skip
    posterior = Poor() if latent_dim else NoPosterior()
    noise = Noise(make_generator(seed, "impute"))
    return Evaluation(Autoregression(latent_dim), posterior, SequenceRows.of(steps, sequences), noise)


@pytest.fixture
def gaps():
    gaps = np.zeros((T, 2), bool)
    for column, steps in GAPS.items():
        gaps[list(steps), column] = True
    return gaps


def exact(latent_dim, x, gaps):
    """Mean and covariance of the gaps given all else."""
    full, m, o = covariance(latent_dim), gaps.ravel(), ~gaps.ravel()
    gain = np.linalg.solve(full[np.ix_(o, o)], full[np.ix_(o, m)]).T
    return gain @ x.ravel()[o], full[np.ix_(m, m)] - gain @ full[np.ix_(o, m)]


@pytest.mark.parametrize(("latent_dim", "n_particles"), [(0, 64), (1, 256)])
def test_draws_are_those_of_the_exact_conditional(latent_dim, n_particles, gaps):
    rng, n = np.random.default_rng(1), 800
    x = (np.linalg.cholesky(covariance(latent_dim)) @ rng.normal(size=2 * T)).reshape(T, 2)
    found = filled(on(latent_dim, [x], [gaps]), n, n_particles)
    assert found.steps.tolist() == sorted({*GAPS[0], *GAPS[1]})
    np.testing.assert_array_equal(found.gaps.numpy(), gaps[found.steps])
    mean, cov = exact(latent_dim, x, gaps)
    drawn = found.x.numpy()[:, found.gaps.numpy()]
    se = np.sqrt(np.diag(cov) / n)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - mean) / se, 4.5)
    sd = np.sqrt(np.diag(cov))
    found_cov = np.cov(drawn.T)
    np.testing.assert_allclose(found_cov / np.outer(sd, sd), cov / np.outer(sd, sd), atol=4.5 * np.sqrt(2 / n))
    np.testing.assert_array_equal(found.x[0][~found.gaps], x[found.steps][~gaps[found.steps]])
    assert 10 < found.ess.item() < n_particles


def test_one_particle_knows_the_past_alone(gaps):
    """Given the steps before, x_5 of column 0 has the mean A x_4, whatever follows."""
    x = np.full((T, 2), 2.0)
    drawn = filled(on(0, [x], [gaps]), 2000, 1).x[:, 1, 0].numpy()
    assert drawn.mean() == pytest.approx(A[0] * 2.0, abs=4.5 * SIGMA / np.sqrt(2000))
    mean, _ = exact(0, x, gaps)
    assert mean[1] > A[0] * 2.0 + 0.05


def test_a_sequence_is_filled_alike_whatever_is_beside_it(gaps):
    """Rows of several lengths, some without gaps: the same distribution, in the places of each."""
    rng = np.random.default_rng(2)
    x = [rng.normal(size=(length, 2)) for length in (20, T, 3, 7)]
    masks = [np.zeros((len(each), 2), bool) for each in x]
    masks[1], masks[3][:2, 0] = gaps, True
    found = filled(on(1, x, masks), 600, 32)
    assert found.steps.tolist() == [20 + s for s in sorted({*GAPS[0], *GAPS[1]})] + [20 + T + 3, 20 + T + 4]
    assert found.ess.isnan().tolist() == [True, False, True, False]
    alone = filled(on(1, x[1:2], masks[1:2], seed=3), 600, 32)
    drawn, other = (each.x.numpy()[:, : len(alone.steps)] for each in (found, alone))
    error = np.sqrt((drawn.var(0) + other.var(0)) / 600)[alone.gaps]
    np.testing.assert_array_less(np.abs(drawn.mean(0) - other.mean(0))[alone.gaps] / error, 4.5)
    again = filled(on(1, x, masks), 600, 32)
    torch.testing.assert_close(again.x, found.x, rtol=0, atol=0)


def test_a_value_that_can_not_be_is_no_reason_to_fail(gaps):
    """Where no particle is possible all are alike."""
    x = np.zeros((T, 2))
    x[8] = 1e200
    assert np.isfinite(filled(on(0, [x], [gaps]), 3, 4).x.numpy()[:, :4]).all()


class Ends(nn.Module):
    """The logit 3 x_1 that a sequence goes on."""

    def forward(self, d):
        return 3 * d[:, :1]


def test_a_gap_says_whether_the_sequence_went_on():
    """x_1 ~ N(0, σ²) in a step that others follow on, and in the last: E[x σ(3x)]/E[σ(3x)], and the same with −."""
    gaps = np.zeros((3, 2), bool)
    gaps[0, 0] = gaps[2, 0] = True
    x = np.zeros((3, 2))
    where = on(0, [x], [gaps])
    where.model.ends = Ends()
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    p = (-0.5 * (grid / SIGMA) ** 2 - 0.5 * ((0 - A[0] * grid) / SIGMA) ** 2).exp()  # of the first, which x_2 follows
    first = ((p := p * (3 * grid).sigmoid()) * grid).sum() / p.sum()
    last = ((p := (-0.5 * (grid / SIGMA) ** 2).exp() * (-3 * grid).sigmoid()) * grid).sum() / p.sum()
    found = filled(where, 800, 64).x[..., 0].mean(0)
    np.testing.assert_allclose(found, [first, last], atol=4.5 * SIGMA / np.sqrt(800))


def test_series_at_rest_leave_particles_where_the_model_says():
    """The mean square of steps is nothing there; a gap of two has the exact spread all the same."""
    gaps = np.zeros((T, 2), bool)
    gaps[5:7, 0] = True
    x = np.full((T, 2), 0.5)
    mean, cov = exact(0, x, gaps)
    found = filled(on(0, [x], [gaps]), 600, 64)
    np.testing.assert_allclose(found.x.numpy()[:, :, 0].std(0), np.sqrt(np.diag(cov)), rtol=0.2)
    np.testing.assert_allclose(found.x.numpy()[:, :, 0].mean(0), mean, atol=4.5 * np.sqrt(np.diag(cov).max() / 600))
    assert found.ess.item() > 10
