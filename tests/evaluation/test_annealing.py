"""log p(x) by naive sampling, importance sampling and annealing: all agree with what is known exactly."""

import math

import pytest
import torch
from sklearn.datasets import load_iris
from tests import linear_gaussian as toy

from lowerbound import MLP, VAE, Adam, GaussianLikelihood, Ladder
from lowerbound.core import NoPosterior
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.annealing import (
    Annealing,
    Bridge,
    UnreliableEstimateWarning,
    _backward,
    _forward,
    _pilot,
    annealed,
    bidirectional_bounds,
    expected_bias,
    naive,
    warning_about,
)
from lowerbound.evaluation.bound import RunningLogMeanExp, importance_weighted
from lowerbound.evaluation.estimate import Estimate
from lowerbound.evaluation.evaluation import Evaluation

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")

K = 20_000
HOW = Annealing(n_temperatures=40, n_chains=100, n_leapfrog=3)
IRIS = torch.from_numpy(load_iris().data[::10, :2]) - 4
METHODS = {
    "naive": lambda p, q, rows, noise: naive(Evaluation(p, NoPosterior(), rows, noise), K),
    "importance": lambda p, q, rows, noise: importance_weighted(Evaluation(p, q, rows, noise), K),
    "ais": lambda p, q, rows, noise: annealed(Evaluation(p, q, rows, noise), HOW),
}
SIZES = {"naive": K, "importance": K, "ais": HOW.n_chains}


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


def linear_gaussian():
    p = toy.model()
    x = toy.numbers(30, toy.F, seed=9)
    return p, toy.ExactPosterior(p, shift=0.2, widen=1.3), toy.rows(x), toy.marginal(p).log_prob(x).detach()


def on_a_grid(parameters, size):
    """A model with two latent variables and weights that nothing has arranged, and its log p(x) by quadrature."""
    vae = VAE(**parameters, likelihood=GaussianLikelihood(0.8, standardize=False), max_epochs=1, random_state=0)
    vae.fit(load_iris().data[:, :2])
    generator = make_generator(5, "shake")
    modules = torch.nn.ModuleList([vae.model_, vae.posterior_]).double()
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for level in getattr(vae.model_, "levels", ()):  # a q wider than p, for weights of finite variance
            level.posterior[-1].weight.mul_(0.2)
            level.posterior[-1].bias.copy_(torch.tensor([0.0, 0.1]))
    line = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(line, line).unsqueeze(1).expand(-1, len(IRIS), -1)
    rows = toy.rows(IRIS)
    with torch.no_grad():
        log_joint = vae.model_.log_joint(next(rows.batches(len(IRIS))), z)
    return vae.model_, vae.posterior_, rows, log_joint.logsumexp(0) + 2 * math.log(14 / 280)


MODELS = {
    "linear Gaussian": linear_gaussian,
    "network": lambda: on_a_grid({"latent_dim": 2, "network": MLP((8,))}, 0.4),
    "ladder": lambda: on_a_grid({"latent_dim": Ladder(2, 1, width=8)}, 0.25),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MODELS)
def test_all_agree_with_the_exact_value(kind, method):
    p, q, rows, exact = MODELS[kind]()
    log_p, ess = METHODS[method](p, q, rows, noise())
    n = SIZES[method]
    assert log_p.dtype == torch.float64
    assert ((ess > 0) & (ess <= n * (1 + 1e-9))).all()
    error = torch.sqrt((1 / ess - 1 / n).clamp_min(0)) + 1e-6  # of log w̄, to first order
    bias = 0.5 * error.square()
    assert (error < 0.5).all()  # else the tolerance says nothing
    assert ((log_p - exact).abs() < 4 * error + bias).all()
    spread = (log_p - exact).std() / math.sqrt(len(exact))
    assert (log_p - exact).mean().abs() < 4 * spread + bias.mean()


def test_the_mean_weight_of_a_short_way_is_p_of_x_and_of_its_reverse_one_over_it():
    p, q, rows, exact = linear_gaussian()
    batch = next(rows.batches(30))
    how = Annealing(n_temperatures=3, n_chains=4000, n_leapfrog=2)
    posterior = toy.ExactPosterior(p)
    with torch.no_grad():
        bridge = Bridge(p, batch, q(batch), how.n_chains)
        steps = _pilot(bridge, how, noise(1), lambda n: None)
        forward = (_forward(bridge, how, steps, noise(), lambda n: None) - exact).exp()
        z = posterior(batch).rsample((400,), noise(2))
        few = Annealing(n_temperatures=3, n_chains=1, n_leapfrog=2)
        backward = torch.stack([_backward(Bridge(p, batch, q(batch), 1), few, steps, part, noise(3)) for part in z])
        backward = (exact - backward[:, 0]).exp()
    for ratio in (forward.mean(1), backward.mean(1)):
        error = ratio.std() / math.sqrt(len(ratio))
        assert error < 0.1
        assert (ratio.mean() - 1).abs() < 4 * error


def test_temperatures_rise_from_zero_to_one():
    betas = Annealing(100).temperatures()
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 101)
    steps = torch.tensor(betas).diff()
    assert (steps > 0).all()
    assert steps[0] < steps[50] / 3
    torch.testing.assert_close(steps, steps.flip(0), atol=1e-6, rtol=1e-3)


def test_annealing_mends_a_bad_q_where_importance_sampling_does_not():
    p, _, rows, exact = linear_gaussian()
    bad = toy.ExactPosterior(p, shift=1.0, widen=0.8)
    by_importance, _ = importance_weighted(Evaluation(p, bad, rows, noise()), 50)
    by_annealing, _ = annealed(Evaluation(p, bad, rows, noise()), Annealing(100, 16, 5))
    assert by_importance.mean() < exact.mean() - 0.3
    error = (by_annealing - exact).std() / math.sqrt(len(exact))
    assert (by_annealing - exact).mean().abs() < 4 * error
    assert by_annealing.mean() > by_importance.mean()


def test_the_sandwich_holds_the_exact_value_and_closes():
    p = toy.model()
    q = toy.ExactPosterior(p, shift=0.3, widen=1.4)
    mask = torch.ones(toy.F, dtype=torch.bool)
    wide = bidirectional_bounds(p, q, 200, mask, noise(), Annealing(1, 1, 1))
    narrow = bidirectional_bounds(p, q, 200, mask, noise(), Annealing(80, 8, 3))
    exact = -toy.marginal(p).entropy().item()
    for found in (wide, narrow):
        assert found.lower.value - 4 * found.lower.standard_error < exact
        assert exact < found.upper.value + 4 * found.upper.standard_error
        assert found.gap.value == pytest.approx(found.upper.value - found.lower.value)
    assert wide.gap.value > 0.3 > 0.1 > narrow.gap.value > -4 * narrow.gap.standard_error
    assert (narrow.lower.kind, narrow.upper.kind) == ("lower", "upper")


def test_the_running_mean_of_weights_is_that_of_all_at_once():
    log_w = 40 * toy.numbers(100, 5, seed=3) - 300
    total = RunningLogMeanExp(5, torch.device("cpu"))
    for part in log_w.split(17):
        total.add(part)
    log_mean, ess = total.result()
    torch.testing.assert_close(log_mean, log_w.logsumexp(0) - math.log(100))
    w = (log_w - log_w.amax(0)).exp()
    torch.testing.assert_close(ess, w.sum(0).square() / w.square().sum(0))


def test_progress_counts_every_row_once():
    p, q, rows, _ = linear_gaussian()
    for method in (
        lambda told: naive(Evaluation(p, NoPosterior(), rows, noise()), 300, told.append),
        lambda told: annealed(Evaluation(p, q, rows, noise()), Annealing(5, 2, 1), told.append),
    ):
        told = []
        method(told)
        assert sum(told) == pytest.approx(30)


def fitted(**settings) -> VAE:
    X = load_iris().data
    return VAE(
        2, network=MLP((16,)), likelihood=GaussianLikelihood(0.2), optimizer=Adam(1e-2), max_epochs=60, random_state=0,
        **settings,
    ).fit(X)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_the_estimator_offers_every_method(method):
    X, vae = load_iris().data[:40], fitted()
    settings = {"n_temperatures": 20, "n_chains": 50, "n_importance": 5000}
    found = vae.log_likelihood(X, method=method, **settings)
    rows, ess = vae.log_likelihood_rows(X, method=method, **settings)
    assert found.value == pytest.approx(rows.mean())
    assert found.ess == pytest.approx(ess.mean())
    assert found.kind == "lower"
    assert found.n_importance == (50 if method == "ais" else 5000)
    by_importance = vae.log_likelihood(X, 5000)
    assert found.value == pytest.approx(by_importance.value, abs=0.1)


def test_parts_of_the_data_have_noise_of_their_own():
    X, vae = load_iris().data[:6], fitted()
    first, again, later = (vae.log_likelihood_rows(X, 10, first_row=row)[0] for row in (0, 0, 6))
    assert (first == again).all()
    assert not (first == later).any()


def test_the_estimator_closes_the_sandwich():
    found = fitted().bidirectional_bounds(50, n_temperatures=60, n_chains=8, random_state=3)
    assert found.lower.n_rows == 50
    assert -0.05 < found.gap.value < 0.2


def test_few_effective_samples_are_warned_of():
    X, vae = load_iris().data[:40], fitted()
    with pytest.warns(UnreliableEstimateWarning, match=r"of 30 draws of the prior a row only \d.* use method='imp"):
        vae.log_likelihood(X, 30, method="naive")
    ess = torch.full((5,), 4.0)
    assert expected_bias(ess, 100) == pytest.approx(0.5 * (0.25 - 0.01))
    assert warning_about(Estimate(-1.0, 0.1, "lower", 5, 1000, 60.0), 0.01, "importance") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method must be one of 'importance', 'naive', 'ais', got 'magic'"),
        ({"method": "ais", "n_chains": 0}, "n_chains must be at least 1, got 0"),
        ({"n_importance": 0}, "n_importance must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fitted().log_likelihood(load_iris().data[:5], **settings)
