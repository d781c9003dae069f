"""Every way of inference on a linear-Gaussian model, whose maximum likelihood and posterior are known."""

import math

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound import IWAE, MCEM, MLP, VAE, Adam, Amortized, GaussianLikelihood
from lowerbound.core import Batch, Posterior
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.posteriors import MaskedInput, MeanField, Refined, Shared, StartAtPrior
from lowerbound.parameters import parts
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) * 1.5 + rng.normal(size=(400, 4)) + 3
COVARIANCE = np.cov(X.T, bias=True)


def exact_log_p(mean: np.ndarray, weights: np.ndarray) -> float:
    """Mean log N(x; b, WWᵀ + I) over X."""
    model = weights @ weights.T + np.eye(4)
    shift = X.mean(0) - mean
    quadratic = np.trace(np.linalg.solve(model, COVARIANCE)) + shift @ np.linalg.solve(model, shift)
    return -0.5 * (4 * math.log(2 * math.pi) + np.linalg.slogdet(model)[1] + quadratic)


def maximum_likelihood() -> tuple[float, np.ndarray]:
    """Tipping & Bishop, 1999, eq. 7 with σ² = 1."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    weights = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:] - 1, 0))
    return exact_log_p(X.mean(0), weights), weights


def fitted(posterior, max_epochs: int = 60, **parameters) -> VAE:
    return VAE(
        latent_dim=2, network=MLP(()), likelihood=GaussianLikelihood("unit", standardize=False), posterior=posterior,
        optimizer=Adam(0.02), early_stopping=False, max_epochs=max_epochs, batch_size=50, random_state=0, **parameters,
    ).fit(X)  # fmt: skip


def log_p_of(vae: VAE) -> float:
    layer = vae.model_.decoder.network.layers[-1]
    return exact_log_p(layer.bias.detach().double().numpy(), layer.weight.detach().double().numpy())


# A diagonal q at Wᵀ's own axes costs nothing: ML solutions rotated to orthogonal columns have a diagonal posterior,
# so every family but the shared one can reach the maximum; what is left is the noise of stochastic steps.
@pytest.mark.parametrize(
    ("posterior", "max_epochs", "gap"),
    [
        ("amortized", 60, 0.05),
        (Amortized(n_refinement_steps=10), 20, 0.05),
        (parts.MeanField(60), 40, 0.05),
        (MCEM(30), 20, 0.02),
    ],
)
def test_reaches_the_maximum_likelihood(posterior, max_epochs, gap):
    best, _ = maximum_likelihood()
    reached = log_p_of(fitted(posterior, max_epochs))
    assert best - gap < reached <= best + 1e-9


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_one_q_for_all_reaches_independent_features_only():
    """With q(z|x) = q(z) the bound is E_q log N(x; Wz + b, I) − KL, highest at W = 0: log N(x; mean, I)."""
    vae = fitted("shared")
    independent = -0.5 * (4 * math.log(2 * math.pi) + np.trace(COVARIANCE))
    assert vae.elbo(X).mean() == pytest.approx(independent, abs=0.02)
    assert maximum_likelihood()[0] > independent + 0.5
    assert vae.transform(X).std(0).max() < 1e-6


def test_a_climb_finds_the_best_diagonal_posterior():
    """For a Gaussian posterior N(μ, Λ⁻¹) the best diagonal q has the mean μ and the variances 1/Λ_jj."""
    p, x = toy.model(), toy.numbers(30, toy.F, seed=5)
    q = Refined(StartAtPrior(toy.D), p.draw, n_steps=400)(whole_batch(x))
    exact = toy.ExactPosterior(p)(whole_batch(x))
    precision = torch.linalg.inv(exact.scale_tril @ exact.scale_tril.mT)
    assert (q.mean - exact.mean).abs().max() < 0.1  # four samples a step leave some noise
    expected = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
    assert (q.log_scale.exp() / expected - 1).abs().max() < 0.1


def test_a_climb_improves_a_poor_encoder_and_depends_on_the_row_alone():
    p, start, x = toy.model(), toy.posterior("diagonal"), toy.numbers(20, toy.F, seed=5)
    climbed = Refined(start, p.draw, n_steps=100)
    before, after = start(whole_batch(x)), climbed(whole_batch(x))
    bound = [toy.exact_elbo(p, q.mean, torch.diag_embed(q.scale), x).detach() for q in (before, after)]
    assert (bound[1] > bound[0]).all()
    alone = climbed(whole_batch(x[3:4]))
    torch.testing.assert_close(alone.mean, after.mean[3:4])
    with torch.no_grad():
        torch.testing.assert_close(climbed(whole_batch(x)).mean, after.mean)


def test_the_encoder_learns_from_the_refined_point():
    p, start, x = toy.model(), toy.posterior("diagonal"), toy.numbers(20, toy.F, seed=5)
    q = Refined(start, p.draw, n_steps=10)(whole_batch(x))
    q.mean.sum().backward()
    assert all(parameter.grad is not None for parameter in start.parameters())
    assert all(parameter.grad is None for parameter in p.parameters())


def test_rows_that_are_not_in_the_batch_do_not_move():
    p, rows = toy.model().float(), toy.rows(toy.numbers(8, toy.F, seed=5).float())
    q = MeanField(8, toy.D, Refined(StartAtPrior(toy.D), p.draw, 3))
    settings = Settings(max_epochs=1, batch_size=4, lr=0.01)
    from lowerbound.inference.objectives import elbo

    run = Training(p, q, elbo(), settings, seed=0, device=torch.device("cpu"))
    first = Batch(rows.raw[:4], torch.ones(4, toy.F, dtype=torch.bool), torch.arange(4))
    for _ in range(3):  # momentum would move them from the second step on
        run.step(first, 0.01)
    assert (q.mean.weight[:4] != 0).all()
    assert (q.mean.weight[4:] == 0).all()
    assert (q.log_scale.weight[4:] == 0).all()


def test_training_with_rows_of_their_own_resumes_exactly(tmp_path):
    from tests.training.test_loop import StopAfter

    from lowerbound.inference.objectives import elbo
    from lowerbound.storage.atomic import load_tensors, save_tensors

    def run() -> Training:
        p = toy.model().float()
        q = MeanField(20, toy.D, Refined(StartAtPrior(toy.D), p.draw, 3))
        settings = Settings(max_epochs=6, batch_size=8, lr=0.02)
        return Training(p, q, elbo(), settings, seed=0, device=torch.device("cpu"))

    rows = toy.rows(toy.numbers(20, toy.F, seed=5).float())
    whole, part, rest = run(), run(), run()
    train(whole, rows)
    train(part, rows, watch=StopAfter(3))
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, rows)
    for a, b in zip(whole.modules.parameters(), rest.modules.parameters(), strict=True):
        assert torch.equal(a, b)


def test_shared_is_the_same_for_all_rows():
    q = Shared(3)(whole_batch(torch.zeros(5, 2)))
    assert isinstance(q, DiagonalGaussian)
    assert q.mean.shape == (5, 3)
    assert q.rsample((2,), Noise(make_generator(0, "z"))).shape == (2, 5, 3)


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
@pytest.mark.parametrize("posterior", [Amortized(n_refinement_steps=5), parts.MeanField(5), "shared", MCEM(5)])
def test_every_way_is_saved_and_scores_new_rows(tmp_path, posterior):
    vae = fitted(posterior, max_epochs=2)
    vae.save(tmp_path / "model")
    from lowerbound import load

    again = load(tmp_path / "model")
    new = X[:7] + 0.1
    np.testing.assert_array_equal(again.transform(new), vae.transform(new))
    np.testing.assert_allclose(vae.score_samples(new)[3:4], vae.score_samples(new[3:4]), atol=1e-9)
    assert np.isfinite(vae.log_likelihood(new, 50).value)


def test_chains_refuse_an_objective_that_they_would_ignore():
    with pytest.raises(ValueError, match="no encoder and no bound"):
        fitted("mcem", objective=IWAE(4))


def test_chains_report_their_acceptance():
    assert 0.6 < fitted(MCEM(60), max_epochs=15).acceptance_ < 0.9  # adapted towards 0.75


def test_a_climb_can_end_at_a_full_covariance():
    """Then q is the posterior itself, N(·, (I + WᵀW)⁻¹), but for the noise of four samples a step."""
    vae = fitted(Amortized("full", n_refinement_steps=100), max_epochs=1)
    assert vae.elbo(X, 64).mean() == pytest.approx(log_p_of(vae), abs=0.08)
    q, weights = vae.posterior_(next(vae.fitted_.rows(X).batches(len(X)))), vae.model_.decoder.network.layers[-1].weight
    exact = torch.linalg.inv(torch.eye(2) + weights.mT @ weights)
    assert abs(exact[0, 1]) > 0.15  # far from diagonal
    torch.testing.assert_close((q.scale_tril @ q.scale_tril.mT).mean(0), exact, rtol=0, atol=0.06)


def test_hiding_hides_the_share_that_it_says_in_training_only():
    batch = whole_batch(torch.ones(4000, 10))
    seen = []

    class Encoder(Posterior):
        def forward(self, batch, noise=None):
            seen.append(batch.mask.double())

    with_hidden = MaskedInput(Encoder(), most=0.6)
    with_hidden(batch, Noise(make_generator(0, "noise")))
    with_hidden.eval()(batch, Noise(make_generator(0, "noise")))
    assert (seen[1] == 1).all()
    hidden = 1 - seen[0].mean(1)
    whole = (hidden == 0).double()
    never_hidden = 1 / 3 + 2 / 3 * (1 - 0.4**11) / (0.6 * 11)  # with a share u·0.6, none of ten is: ∫ (1 − 0.6u)¹⁰ du
    assert abs(whole.mean() - never_hidden) < 4 * math.sqrt(never_hidden * (1 - never_hidden) / 4000)
    assert abs(hidden.mean() - 2 / 3 * 0.3) < 4 * hidden.std() / math.sqrt(4000)
    assert hidden.max() > 0.5
