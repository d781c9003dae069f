"""PPCA and factor analysis: the density, the posterior, the closed form and EM against what is known exactly."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from tests.conftest import whole_batch

from lowerbound.core import Batch, Objective
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference import em
from lowerbound.models.ppca import LinearGaussian, sigma_points, spectrum
from lowerbound.tasks import generate

F, D = 6, 2
NOISES = ["shared", "feature"]
IRIS = torch.from_numpy(load_iris().data)
WIDE = np.random.default_rng(0).normal(size=(12, 40))  # fewer rows than features


def linear_gaussian(noise: str, log_unit: torch.Tensor | None = None) -> LinearGaussian:
    """With parameters at random."""
    model = LinearGaussian((F,), D, noise, log_unit=log_unit)
    for i, parameter in enumerate(model.requires_grad_(False).parameters()):
        parameter.copy_(torch.from_numpy(np.random.default_rng(i).normal(0, 0.7, parameter.shape)))
    return model


def covariance(model: LinearGaussian) -> np.ndarray:
    """WWᵀ + Ψ."""
    W, scale = model.weights.detach().numpy(), model.log_scale.detach().exp().numpy()
    return W @ W.T + np.diag(np.broadcast_to(scale**2, len(W)))


def one_factor(n: int, seed: int = 0) -> tuple[LinearGaussian, torch.Tensor]:
    """A model with one latent variable that every feature tells well, so that EM is quick; and draws from it."""
    truth = LinearGaussian((F,), 1, "feature").requires_grad_(False)
    truth.weights.copy_(torch.tensor([1.0, -0.8, 1.2, 0.7, 1.0, -0.9]).double()[:, None])
    truth.log_scale.copy_(torch.tensor([0.8, 0.6, 1.0, 0.7, 0.9, 0.8]).double().log())
    return truth, generate.sample(truth, n, Noise(make_generator(seed, "x")))


def with_gaps(x: torch.Tensor, observed: float = 0.6) -> Batch:
    mask = torch.rand(x.shape, generator=make_generator(0, "gaps")) < observed
    return Batch(torch.where(mask, x, 9.0), mask, torch.arange(len(x)))  # a hidden 9 must not matter


def random_batch(gaps: str) -> tuple[np.ndarray, Batch]:
    """Rows, and what is seen of them: everything, the same features of each, or features of its own."""
    rng, n = np.random.default_rng(0), 40
    x = rng.normal(0, 2, (n, F))
    mask = {
        "none": np.ones((n, F), bool),
        "same": np.tile([True, False, True, True, False, True], (n, 1)),
        "own": rng.random((n, F)) < 0.5,
    }[gaps]
    return x, Batch(torch.from_numpy(np.where(mask, x, 9.0)), torch.from_numpy(mask), torch.arange(n))


def fit_by_em(noise: str, batch: Batch, latent_dim: int = D, tol: float = 1e-11) -> tuple[LinearGaussian, em.Ascent]:
    model = LinearGaussian(batch.x.shape[1:], latent_dim, noise)
    model.start(spectrum(batch.x), make_generator(0, "em"))
    return model, em.fit(model, lambda: [batch], tol, 20_000)


def slopes(model: LinearGaussian, batch: Batch) -> list[float]:
    """The largest derivative of the mean log p(x) in each parameter."""
    model.requires_grad_(True)
    gradients = torch.autograd.grad(model.log_prob(batch).mean(), list(model.parameters()))
    return [gradient.abs().max().item() for gradient in gradients]


# density and posterior


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("gaps", ["none", "same", "own"])
def test_log_p_is_scipys(noise, gaps):
    unit = np.array([1.0, 10.0, 0.1, 2.0, 3.0, 0.5])
    model = linear_gaussian(noise, torch.from_numpy(np.log(unit)))
    x, batch = random_batch(gaps)
    mean, cov = model.mean.numpy() * unit, np.diag(unit) @ covariance(model) @ np.diag(unit)
    for row, seen, value in zip(x * unit, batch.mask.numpy(), model.log_prob(batch), strict=True):
        if seen.any():
            expected = stats.multivariate_normal(mean[seen], cov[np.ix_(seen, seen)]).logpdf(row[seen])
            assert value.item() == pytest.approx(expected, abs=1e-10)
        else:
            assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("gaps", ["none", "same", "own"])
def test_the_posterior_conditions_the_joint_gaussian(noise, gaps):
    """z given x_o from Cov(z, x) = Wᵀ and Cov(x) = WWᵀ + Ψ, without the identity that the code rests on."""
    model = linear_gaussian(noise)
    x, batch = random_batch(gaps)
    q, W, cov = model.posterior(batch), model.weights.numpy(), covariance(model)
    for row, seen, mean, tril in zip(x, batch.mask.numpy(), q.mean, q.scale_tril, strict=True):
        gain = W[seen].T @ np.linalg.inv(cov[np.ix_(seen, seen)])
        np.testing.assert_allclose(mean, gain @ (row - model.mean.numpy())[seen], atol=1e-11)
        np.testing.assert_allclose(tril @ tril.T, np.eye(D) - gain @ W[seen], atol=1e-12)
        assert torch.equal(tril, tril.tril())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("gaps", ["none", "own"])
def test_with_the_exact_posterior_the_bound_has_no_gap(noise, gaps):
    """Every log-weight, at every z, is log p(x)."""
    model = linear_gaussian(noise, torch.linspace(-1, 1, F, dtype=torch.float64))
    _, batch = random_batch(gaps)
    objective = Objective(lambda draw, state: -draw.log_w.mean(0), samples=50)
    draw = model.draw(batch, model.posterior, objective, Noise(make_generator(0, "z")))
    assert draw.log_w.std(0).max() < 1e-12  # whichever z was drawn
    assert (draw.log_w - model.log_prob(batch)).abs().max() < 1e-10


def test_images_are_tables_of_another_shape():
    flat = linear_gaussian("feature")
    image = LinearGaussian((1, 2, 3), D, "feature")
    image.load_state_dict(flat.state_dict())
    _, batch = random_batch("own")
    images = Batch(batch.x.view(-1, 1, 2, 3), batch.mask.view(-1, 1, 2, 3), batch.index)
    torch.testing.assert_close(image.log_prob(images).detach(), flat.log_prob(batch))
    assert image.likelihood(torch.zeros(4, 5, D).double()).mean.shape == (4, 5, 1, 2, 3)


def test_draws_have_the_density(noise):
    model = linear_gaussian("feature")
    x = generate.sample(model, 5000, noise).numpy() - model.mean.numpy()
    for column in np.linalg.solve(np.linalg.cholesky(covariance(model)), x.T):
        assert stats.kstest(column, "norm").pvalue > 1e-3


# the closed form


@pytest.mark.parametrize("X", [load_iris().data, load_wine().data, WIDE], ids=["iris", "wine", "wide"])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_the_closed_form_is_scikit_learns_with_the_divisors_matched(X, latent_dim):
    """PCA divides by n − 1, and its noise variance, where rows are fewer, by n − D instead of F − D."""
    pca = PCA(latent_dim, svd_solver="full").fit(X)
    n, n_features = X.shape
    pca.explained_variance_ *= (n - 1) / n
    pca.noise_variance_ *= (n - 1) / n * (min(n, n_features) - latent_dim) / (n_features - latent_dim)
    model = LinearGaussian(X.shape[1:], latent_dim)
    model.maximum_likelihood(spectrum(torch.from_numpy(X)))
    log_p = model.log_prob(whole_batch(torch.from_numpy(X))).detach()
    np.testing.assert_allclose(log_p, pca.score_samples(X), rtol=0, atol=1e-8)


@pytest.mark.parametrize("X", [IRIS, torch.from_numpy(WIDE)], ids=["iris", "wide"])
def test_the_closed_form_is_a_maximum(X):
    model = LinearGaussian(X.shape[1:], 3)
    model.maximum_likelihood(spectrum(X))
    best = model.log_prob(whole_batch(X)).mean().item()
    assert max(slopes(model, whole_batch(X))) < 1e-9
    for seed in range(20):
        other = copy.deepcopy(model).requires_grad_(False)
        for i, parameter in enumerate(other.parameters()):
            parameter += 0.01 * torch.randn(
                parameter.shape, generator=make_generator(seed, str(i)), dtype=torch.float64
            )
        assert other.log_prob(whole_batch(X)).mean() < best


def test_the_spectrum_of_wide_rows_is_the_covariances():
    X = 3 + torch.from_numpy(WIDE[:7, :20])
    axes = spectrum(X)
    covariance = torch.cov(X.T, correction=0)
    torch.testing.assert_close(axes.mean, X.mean(0))
    torch.testing.assert_close(axes.axes * axes.variances @ axes.axes.T, covariance)
    torch.testing.assert_close(axes.axes.T @ axes.axes, torch.eye(6, dtype=torch.float64))
    assert (axes.variances.diff() < 0).all()


def test_no_variance_is_left_to_the_noise_but_the_least_allowed():
    X = IRIS[:, [0, 0, 1, 1]]  # four features in two dimensions
    model = LinearGaussian((4,), 2, min_scale=torch.tensor([0.01], dtype=torch.float64))
    model.maximum_likelihood(spectrum(X))
    assert model.log_scale.exp().item() == pytest.approx(0.01)
    assert torch.isfinite(model.log_prob(whole_batch(X))).all()


# EM


@pytest.mark.parametrize("X", [IRIS, torch.from_numpy(load_wine().data[:, 1:5]), torch.from_numpy(WIDE)])
def test_em_reaches_the_closed_form(X):
    model, ascent = fit_by_em("shared", whole_batch(X), tol=1e-13)
    closed = LinearGaussian(X.shape[1:], D)
    closed.maximum_likelihood(spectrum(X))
    assert ascent.converged
    np.testing.assert_allclose(ascent.objective[-1], closed.log_prob(whole_batch(X)).mean().item(), atol=1e-9)
    np.testing.assert_allclose(covariance(model), covariance(closed), atol=1e-4 * X.var(0).max().item())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_em_never_falls_and_ends_at_a_maximum(noise, gaps, seed):
    if noise == "shared":
        truth = linear_gaussian(noise)
        x = generate.sample(truth, 200, Noise(make_generator(seed, "x")))
    else:
        truth, x = one_factor(300, seed)
    batch = with_gaps(x) if gaps else whole_batch(x)
    model, ascent = fit_by_em(noise, batch, truth.latent_dim)
    assert ascent.converged
    assert np.diff(ascent.objective).min() > -1e-12
    assert ascent.objective[-1] == pytest.approx(model.log_prob(batch).mean().item(), abs=1e-10)
    assert ascent.objective[-1] > truth.log_prob(batch).mean()
    assert max(slopes(model, batch)) < 1e-4  # nothing left to climb


def test_em_steps_over_sigma_points_are_those_over_the_rows():
    points = sigma_points(spectrum(IRIS))
    assert len(points) == 8
    torch.testing.assert_close(points.mean(0), IRIS.mean(0))
    torch.testing.assert_close(torch.cov(points.T, correction=0), torch.cov(IRIS.T, correction=0))
    over_rows, over_points = (LinearGaussian((4,), 1, "feature") for _ in range(2))
    for model in (over_rows, over_points):
        model.start(spectrum(IRIS), make_generator(0, "em"))
    rows = em.fit(over_rows, lambda: [whole_batch(IRIS)], 0, 5)
    few = em.fit(over_points, lambda: [whole_batch(points)], 0, 5)
    np.testing.assert_allclose(rows.objective, few.objective, atol=1e-12)
    torch.testing.assert_close(over_rows.weights, over_points.weights)


def test_rows_and_features_with_nothing_observed_say_nothing():
    _, x = one_factor(200)
    alone, _ = fit_by_em("feature", whole_batch(x), 1)
    mask = torch.nn.functional.pad(torch.ones_like(x, dtype=torch.bool), (0, 1, 0, 10))
    x = torch.nn.functional.pad(x, (0, 1, 0, 10), value=9.0)
    model, ascent = fit_by_em("feature", Batch(x, mask, torch.arange(len(x))), 1)
    assert ascent.converged
    np.testing.assert_allclose(covariance(model)[:F, :F], covariance(alone), atol=1e-4)
    assert model.weights[F].abs().max() == 0


def test_batches_add_up():
    batch = with_gaps(IRIS)
    thirds = [Batch(batch.x[i::3], batch.mask[i::3], batch.index[i::3]) for i in range(3)]
    whole, parts = (LinearGaussian((4,), 2, "feature") for _ in range(2))
    for model, batches in ((whole, [batch]), (parts, thirds)):
        model.start(spectrum(IRIS), make_generator(0, "em"))
        em.fit(model, lambda batches=batches: batches, 0, 5)
    torch.testing.assert_close(whole.weights, parts.weights)
    torch.testing.assert_close(whole.log_scale, parts.log_scale)


@pytest.mark.parametrize(
    ("X", "latent_dim"), [(load_wine().data, 3), (one_factor(100)[1].numpy(), 1)], ids=["wine", "toy"]
)
def test_factor_analysis_is_scikit_learns(X, latent_dim):
    X = (X - X.mean(0)) / X.std(0)
    theirs = FactorAnalysis(latent_dim, tol=1e-6, max_iter=20_000, svd_method="lapack").fit(X)
    model = LinearGaussian(X.shape[1:], latent_dim, "feature")
    axes = spectrum(torch.from_numpy(X))
    model.maximum_likelihood(axes)
    em.fit(model, lambda: [whole_batch(sigma_points(axes))], 1e-9, 20_000)
    log_p = model.log_prob(whole_batch(torch.from_numpy(X))).detach()
    assert log_p.mean().item() == pytest.approx(theirs.score(X), abs=1e-6)
    np.testing.assert_allclose(log_p, theirs.score_samples(X), atol=1e-2)


def test_a_scale_at_its_lower_bound_does_not_stop_the_ascent():
    X = torch.cat([IRIS, IRIS[:, :1]], 1)  # a feature twice: a Heywood case
    model = LinearGaussian((5,), 2, "feature", min_scale=torch.full((5,), 0.05, dtype=torch.float64))
    model.maximum_likelihood(spectrum(X))
    ascent = em.fit(model, lambda: [whole_batch(X)], 1e-9, 5000)
    assert np.diff(ascent.objective).min() > -1e-12
    assert model.log_scale.exp().min().item() == pytest.approx(0.05)


@pytest.mark.parametrize("noise", NOISES)
def test_rotating_leaves_the_density_and_orders_the_axes(noise):
    model = linear_gaussian(noise)
    _, batch = random_batch("own")
    before = model.log_prob(batch)
    model.rotate()
    torch.testing.assert_close(model.log_prob(batch), before)
    scale = model.log_scale.exp().expand(F)[:, None]
    inner = ((model.weights / scale).T @ (model.weights / scale)).numpy()
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-10)
    assert (np.diff(np.diag(inner)) < 0).all()
    assert (model.weights.gather(0, model.weights.abs().argmax(0, keepdim=True)) > 0).all()
