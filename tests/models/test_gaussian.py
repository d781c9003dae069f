"""MixtureOfGaussians with gaps: densities, conditionals, EM and draws against numpy's and scipy's formulas."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris
from tests.conftest import whole_batch

from lowerbound.core import Batch
from lowerbound.distributions.noise import make_generator
from lowerbound.inference import em
from lowerbound.models import gaussian
from lowerbound.models.gaussian import MixtureOfGaussians

F = 5
IRIS = torch.from_numpy(load_iris().data)


def gaussians(n_components: int, log_unit: torch.Tensor | None = None) -> MixtureOfGaussians:
    """With parameters at random."""
    model, rng = MixtureOfGaussians(n_components, (F,), log_unit=log_unit), np.random.default_rng(0)
    model.means.copy_(torch.from_numpy(rng.normal(0, 1, (n_components, F))))
    covariances = stats.wishart(F + 2, np.eye(F)).rvs(n_components, rng).reshape(n_components, F, F)
    model.scale_trils.copy_(torch.linalg.cholesky(torch.from_numpy(covariances)))
    model.log_weights.copy_(torch.from_numpy(rng.dirichlet(np.full(n_components, 5))).log())
    return model


def with_gaps(x: torch.Tensor, observed: float = 0.6) -> Batch:
    mask = torch.rand(x.shape, generator=make_generator(0, "gaps")) < observed
    return Batch(torch.where(mask, x, 9.0), mask, torch.arange(len(x)))  # a hidden 9 must not matter


def rows(n: int = 30) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(0, 2, (n, F)))


def conditional(mean: np.ndarray, cov: np.ndarray, x: np.ndarray, o: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o) and Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om, in their places."""
    m, filled, covariance = ~o, x.copy(), np.zeros_like(cov)
    gain = cov[np.ix_(m, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    filled[m] = mean[m] + gain @ (x[o] - mean[o])
    covariance[np.ix_(m, m)] = cov[np.ix_(m, m)] - gain @ cov[np.ix_(o, m)]
    return filled, covariance


def fitted(
    batch: Batch, n_components: int = 1, shrinkage: float = 1.0, tol: float = 1e-10, form: str = "full"
) -> tuple:
    x, mask = batch.x, batch.mask
    model = MixtureOfGaussians(n_components, x.shape[1:], shrinkage=shrinkage, form=form)
    seen = [x[mask[:, j], j] for j in range(x.shape[1])]
    mean, variance = (torch.stack([f(column) for column in seen]) for f in (torch.mean, torch.var))
    start = mean + torch.linspace(-1, 1, n_components)[:, None] * variance.sqrt() if n_components > 1 else mean[None]
    model.start(start, variance.diag(), variance.diag())
    return model, em.fit(model, lambda: [batch], tol, 5000)


@pytest.mark.parametrize("n_components", [1, 3])
def test_one_gaussian_and_mixtures_condition_as_the_formulas_say(n_components):
    model, batch = gaussians(n_components), with_gaps(rows())
    weights, means, covs = model.log_weights.exp().numpy(), model.means.numpy(), model.covariances.numpy()
    mean, covariance = model.conditional_mean(batch), model.conditional_covariance(batch)
    log_p = model.log_prob(batch)
    for i, (x, o) in enumerate(zip(batch.x.numpy(), batch.mask.numpy(), strict=True)):
        components = list(zip(weights, means, covs, strict=True))
        p = np.array([w * stats.multivariate_normal(m[o], c[np.ix_(o, o)]).pdf(x[o]) if o.any() else w
                      for w, m, c in components])  # fmt: skip
        r, parts = p / p.sum(), [conditional(m, c, x, o) for _, m, c in components]
        expected = sum(r_k * filled for r_k, (filled, _) in zip(r, parts, strict=True))
        second = sum(r_k * (c + np.outer(d - expected, d - expected)) for r_k, (d, c) in zip(r, parts, strict=True))
        np.testing.assert_allclose(mean[i], expected, atol=1e-9)
        np.testing.assert_allclose(covariance[i], second, atol=1e-9)
        assert log_p[i].item() == pytest.approx(np.log(p.sum()), abs=1e-9)
        assert np.array_equal(mean[i].numpy()[o], x[o])  # bit for bit


def test_the_density_counts_in_the_users_units():
    unit = torch.tensor([1.0, 10, 0.1, 2, 3]).double()
    batch = with_gaps(rows())
    shift = (batch.mask * unit.log()).sum(1)
    torch.testing.assert_close(gaussians(2, unit.log()).log_prob(batch), gaussians(2).log_prob(batch) - shift)


@pytest.mark.parametrize("n_components", [1, 3])
def test_draws_have_the_conditional_mean_and_covariance(n_components, noise):
    model, batch, n = gaussians(n_components), with_gaps(rows(6)), 20_000
    drawn = model.conditional_sample(batch, n, noise)
    assert drawn.shape == (n, 6, F)
    assert torch.equal(drawn[:, batch.mask], batch.x[batch.mask].expand(n, -1))
    mean, covariance = model.conditional_mean(batch), model.conditional_covariance(batch)
    error = drawn.std(0) / n**0.5
    assert ((drawn.mean(0) - mean).abs() <= 4.5 * error + 1e-12).all()
    products = (drawn - mean).unsqueeze(-1) * (drawn - mean).unsqueeze(-2)
    assert ((products.mean(0) - covariance).abs() <= 4.5 * products.std(0) / n**0.5 + 1e-12).all()


def test_complete_rows_give_the_sample_mean_and_covariance():
    model, ascent = fitted(whole_batch(IRIS), shrinkage=0)
    assert ascent.converged
    assert ascent.n_iter <= 2
    np.testing.assert_allclose(model.means[0], IRIS.mean(0), atol=1e-12)
    np.testing.assert_allclose(model.covariances[0], np.cov(IRIS.T, bias=True), atol=1e-12)
    shrunk, _ = fitted(whole_batch(IRIS), shrinkage=10)
    S, variances = np.cov(IRIS.T, bias=True), np.diag(IRIS.var(0, correction=1).numpy())
    np.testing.assert_allclose(shrunk.covariances[0], (150 * S + 10 * variances) / 160, atol=1e-12)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("shrinkage", [0.5, 5])
@pytest.mark.parametrize("form", ["full", "tied", "diagonal", "isotropic"])
def test_em_never_falls(n_components, shrinkage, form):
    batch = with_gaps(IRIS)
    model, ascent = fitted(batch, n_components, shrinkage, form=form)
    assert ascent.converged
    assert len(ascent.objective) > (5 if form == "full" else 2)
    assert np.diff(ascent.objective).min() > -1e-12
    last = ((model.log_prob(batch).sum() + model.log_prior()) / 150).item()
    assert ascent.objective[-1] == pytest.approx(last, abs=1e-12)


def test_em_ends_where_nothing_is_left_to_climb():
    """The derivatives of log p(X) + log p(θ), by autograd through the formula for every row."""
    batch = with_gaps(IRIS)
    model, _ = fitted(batch, tol=1e-13)
    mean = model.means[0].clone().requires_grad_()
    tril = model.scale_trils[0].clone().requires_grad_()
    cov = tril @ tril.T
    log_p = sum(
        torch.distributions.MultivariateNormal(mean[o], cov[o][:, o]).log_prob(x[o])
        for x, o in zip(batch.x, batch.mask, strict=True) if o.any()
    )  # fmt: skip
    prior = -0.5 * model.shrinkage * (torch.linalg.solve(cov, model.average).trace() + torch.logdet(cov))
    slopes = torch.autograd.grad((log_p + prior) / 150, [mean, tril])
    assert (
        max(slope.tril().abs().max().item() if slope.ndim == 2 else slope.abs().max().item() for slope in slopes) < 1e-4
    )


@pytest.mark.parametrize(
    ("form", "free"),
    [
        ("full", lambda slope: slope),
        ("tied", lambda slope: slope.sum(0)),
        ("diagonal", lambda slope: slope.diagonal(dim1=1, dim2=2)),
        ("isotropic", lambda slope: slope.diagonal(dim1=1, dim2=2).sum(1)),
    ],
)
def test_em_of_mixtures_ends_where_no_covariance_of_its_form_is_better(form, free):
    """The derivatives of log p(X) + log p(θ) in every direction that the form leaves."""
    batch, K = with_gaps(IRIS), 3
    model, _ = fitted(batch, K, tol=1e-14, form=form)
    means, covs = model.means.clone().requires_grad_(), model.covariances.clone().requires_grad_()
    weights = model.log_weights.clone().requires_grad_()
    log_p = sum(
        torch.stack([
            log_weight + torch.distributions.MultivariateNormal(mean[o], cov[o][:, o]).log_prob(x[o])
            for log_weight, mean, cov in zip(weights.log_softmax(0), means, covs, strict=True)
        ]).logsumexp(0)
        for x, o in zip(batch.x, batch.mask, strict=True) if o.any()
    )  # fmt: skip
    traces = [torch.linalg.solve(cov, model.average).trace() for cov in covs]
    prior = weights.log_softmax(0).sum() - 0.5 * model.shrinkage * (sum(traces) + torch.logdet(covs).sum())
    of_weights, of_means, of_covs = torch.autograd.grad((log_p + prior) / 150, [weights, means, covs])
    assert max(slope.abs().max() for slope in (of_weights, of_means, free(of_covs))) < 1e-4
    if form != "full":
        assert of_covs.abs().max() > 1e-2  # the others would go further


def test_columns_and_rows_with_nothing_observed_say_nothing():
    alone, _ = fitted(with_gaps(IRIS))
    gaps = with_gaps(IRIS)
    wider = Batch(*(torch.nn.functional.pad(t, (0, 1, 0, 7)) for t in (gaps.x, gaps.mask)), torch.arange(157))
    model = MixtureOfGaussians(1, (5,))
    mean, variance = alone.means[0], torch.ones(5).double()
    variance[:4] = alone.average.diagonal()
    model.start(torch.nn.functional.pad(mean, (0, 1))[None], variance.diag(), variance.diag())
    em.fit(model, lambda: [wider], 1e-10, 5000)
    filled = model.conditional_mean(wider)
    np.testing.assert_allclose(model.covariances[0, :4, :4], alone.covariances[0], rtol=0.05)  # shrunk by n = 157
    np.testing.assert_allclose(model.covariances[0, 4], [0, 0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(filled[150:, :4], model.means[0, :4].expand(7, 4), atol=1e-12)
    assert model.log_prob(wider)[150:].abs().max() < 1e-12


def test_fewer_rows_than_features():
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 30)))
    model, ascent = fitted(with_gaps(X), tol=1e-6)
    assert ascent.converged
    assert torch.isfinite(model.conditional_mean(with_gaps(X))).all()


def test_pieces_give_what_the_whole_gives(monkeypatch, noise):
    model, batch = gaussians(2), with_gaps(rows())
    whole = model.log_prob(batch), model.conditional_mean(batch), model.conditional_covariance(batch)
    sums = model.expect(batch)
    monkeypatch.setattr(gaussian, "SOLVE_ELEMENTS", 14 * F * F)  # seven rows at a time
    assert gaussian.rows_at_once(F, 2) == 7
    parts = model.log_prob(batch), model.conditional_mean(batch), model.conditional_covariance(batch)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
    assert model.conditional_sample(batch, 3, noise).shape == (3, 30, F)
    thirds = [Batch(batch.x[i::3], batch.mask[i::3], batch.index[i::3]) for i in range(3)]
    for one, other in zip(sums, em.total(model.expect, thirds), strict=True):
        torch.testing.assert_close(one, other)
