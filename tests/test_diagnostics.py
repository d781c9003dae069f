"""Gradient variance as measured on an estimator: the right numbers, and nothing changed by looking."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

import lowerbound
from lowerbound import MLP, VAE, Adam
from lowerbound.core import ObjectiveState
from lowerbound.diagnostics import GradientMoments, Measured, Sums, gradient_variance
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import make_objective
from tests import linear_gaussian as toy

X = (toy.numbers(60, 2) @ toy.numbers(2, 4, seed=1) + 0.3 * toy.numbers(60, 4, seed=2)).float().numpy()


def vae(**parameters) -> VAE:
    return VAE(2, max_epochs=20, random_state=0, device="cpu", optimizer=Adam(0.02), network=MLP((5,)), **parameters)


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return vae().fit(X)


def test_it_is_a_public_name():
    assert lowerbound.diagnostics.gradient_variance is gradient_variance


def test_the_numbers_are_those_of_the_draws(fitted):
    """Whole batches, without noise in the rows: redrawn here by hand, the first not counted."""
    found = gradient_variance(fitted, X, {"dreg": {"objective": "iwae", "gradient": "dreg", "n_samples": 3}}, 40,
                              arrays=True)["dreg"]  # fmt: skip
    model, posterior = copy.deepcopy((fitted.model_, fitted.posterior_))
    order, noise = make_generator(0, "gradient rows"), Noise(make_generator(0, "gradient noise"))
    objective, rows, drawn = make_objective("iwae", "dreg", 3), fitted.fitted_.rows(X), []
    for _ in range(41):
        batch = next(rows.subset(torch.randperm(60, generator=order)).batches(60))
        loss = objective.loss(model.draw(batch, posterior, objective, noise), ObjectiveState()).mean()
        drawn.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(posterior.parameters()))]))
    drawn = torch.stack(drawn[1:]).double().numpy()
    moments = found["encoder"]
    assert moments.n_coordinates == drawn.shape[1] == sum(w.numel() for w in posterior.parameters())
    mean, variance = drawn.mean(0), drawn.var(0, ddof=1)
    np.testing.assert_allclose(moments.mean.array, mean, atol=1e-8)
    np.testing.assert_allclose(moments.variance.array, variance, rtol=1e-4, atol=1e-10)
    np.testing.assert_allclose(moments.snr.array, np.abs(mean) / np.sqrt(variance), rtol=1e-4)
    assert moments.variance.value == pytest.approx(variance.mean())
    assert moments.snr.value == pytest.approx(np.nanmean(moments.snr.array))
    assert found["decoder"].n_coordinates == sum(w.numel() for w in model.parameters())


def test_standard_errors_are_those_of_the_jackknife():
    """Of a mean it is the usual one; of a variance near √(2/n)·σ² where draws are normal."""
    draws, n = torch.randn(4000, 3, generator=make_generator(0, "g"), dtype=torch.float64), 4000
    sums = Sums(torch.zeros(20, dtype=torch.float64), *torch.zeros(2, 20, 3, dtype=torch.float64))
    for i, gradient in enumerate(draws):
        sums.add(i % 20, gradient)
    moments: GradientMoments = lowerbound.diagnostics._summary(sums, arrays=False)
    assert moments.variance.value == pytest.approx(draws.var(0).mean().item())
    assert moments.mean.standard_error == pytest.approx(1 / math.sqrt(3 * n), rel=0.4)
    assert moments.variance.standard_error == pytest.approx(math.sqrt(2 / n / 3), rel=0.4)
    assert moments.mean.array is None


def test_minibatches_estimate_the_same_gradient_with_more_variance(fitted):
    whole, part = (gradient_variance(fitted, X, {"p": {"n_samples": 4}}, 400, batch_size=m, arrays=True)["p"]
                   for m in (None, 6))  # fmt: skip
    for group in ("decoder", "encoder"):
        error = np.sqrt((whole[group].variance.array + part[group].variance.array) / 400)
        off = np.abs(whole[group].mean.array - part[group].mean.array)
        assert (off <= 4.5 * error + 1e-7).all()
        assert part[group].variance.value > 5 * whole[group].variance.value


def test_a_coordinate_without_variance_has_no_ratio():
    sums = Sums(torch.zeros(20, dtype=torch.float64), *torch.zeros(2, 20, 2, dtype=torch.float64))
    for i in range(40):
        sums.add(i % 20, torch.tensor([0.0, float(i % 3)], dtype=torch.float64))
    moments = lowerbound.diagnostics._summary(sums, arrays=True)
    assert np.isnan(moments.snr.array).tolist() == [True, False]
    assert moments.snr.value == pytest.approx(moments.snr.array[1])
    assert isinstance(moments.snr, Measured)


def test_looking_changes_nothing(fitted):
    before = {k: v.clone() for k, v in (fitted.model_.state_dict() | fitted.posterior_.state_dict()).items()}
    first = gradient_variance(fitted, X, n=40, batch_size=10)
    assert gradient_variance(fitted, X, n=40, batch_size=10) == first
    after = fitted.model_.state_dict() | fitted.posterior_.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(w.grad is None for w in fitted.model_.parameters())


def test_an_estimator_that_is_not_fitted_is_measured_where_training_starts():
    model = vae()
    found = gradient_variance(model, X, n=40)
    assert not hasattr(model, "model_")
    started = clone(model)
    started.begin_fit(X)
    assert gradient_variance(started, X, n=40) == found


def test_the_score_function_is_worst_and_an_objective_may_be_given(fitted):
    names = {
        "pathwise": make_objective(),
        "score": {"gradient": "score", "baseline": "none"},
        "leave one out": {"gradient": "score", "n_samples": 4},
    }
    found = {name: groups["encoder"] for name, groups in gradient_variance(fitted, X, names, 100).items()}
    assert found["score"].variance.value > 5 * found["leave one out"].variance.value
    assert found["leave one out"].variance.value > found["pathwise"].variance.value
    assert found["score"].snr.value < found["pathwise"].snr.value
    assert str(found["pathwise"].variance).count("±") == 1


def test_too_few_draws_are_refused(fitted):
    with pytest.raises(ValueError, match="at least 40 draws"):
        gradient_variance(fitted, X, n=10)
