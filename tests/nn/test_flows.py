"""Flows: densities against a grid, draws against their moments, log p(x) against its integral."""

import builtins
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from tests import linear_gaussian as toy
from torch import Tensor, nn

from lowerbound import (
    ELBO,
    MLP,
    VAE,
    Adam,
    GaussianLikelihood,
    Ladder,
    SampledELBO,
    VAEImputer,
    VAEOutlierDetector,
    load,
)
from lowerbound.core import Objective
from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.posteriors import Amortized
from lowerbound.models.priors.flow import FlowPrior
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.flows import FlowHead, Pushforward
from lowerbound.nn.initialization import linear
from lowerbound.nn.inputs import Values

D = 2
HALF, POINTS = 8.0, 121
LINE = torch.linspace(-HALF, HALF, POINTS, dtype=torch.float64)
GRID = torch.cartesian_prod(LINE, LINE).unsqueeze(1)  # (G, 1, 2)
LOG_AREA = 2 * math.log(2 * HALF / (POINTS - 1))
IRIS = load_iris().data
SETTINGS = {
    "network": MLP((16,)), "likelihood": GaussianLikelihood(0.3), "optimizer": Adam(1e-2), "max_epochs": 3,
    "random_state": 0,
}  # fmt: skip


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


def shaken(module, size: float = 0.1):
    """``module`` in float64 with weights that are no identity."""
    generator = make_generator(5, "shake")
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


class Bent(nn.Module):
    """z → (z_1, z_2, z_1 z_2): a mean that no Gaussian posterior suits."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([z[:, 0], z[:, 1], z.prod(-1)], -1).unsqueeze(1)


def model(prior: nn.Module | None = None) -> LatentModel:
    scale = Scale("fixed", torch.tensor(0.7, dtype=torch.float64), torch.zeros(()))
    return LatentModel(Decoder(Bent(), NormalHead(scale)), D, learned_prior=prior).double()


def posterior(bent: bool = True) -> Amortized:
    """q(z|x) around half of x_1 and x_2, wider than p(z|x)."""
    head = FlowHead(D, make_generator(1, "weights")).double()
    network = linear(3, head.n_features, make_generator(2, "weights")).double()
    with torch.no_grad():
        network.weight[: 2 * D] = 0
        network.weight[:D, :D] = 0.5 * torch.eye(D)
    if bent:
        shaken(head.flow, 0.06)
    return Amortized(Encoder(Values(), network, head))


def rows(n: int = 5):
    return toy.rows(toy.numbers(n, 3, seed=9))


def first_batch(n: int = 5):
    return next(rows(n).batches(n))


def test_a_flow_starts_as_what_it_starts_from():
    z = 3 * toy.numbers(4, 5, 6, seed=4)
    prior = FlowPrior(6, make_generator(0, "weights")).double()
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(6, z).log_prob(z))
    head = FlowHead(6, make_generator(0, "weights")).double()
    features = toy.numbers(5, head.n_features, seed=3)
    q, gaussian = head(features), DiagonalGaussian(features[:, :6], features[:, 6:12])
    torch.testing.assert_close(q.log_prob(z), gaussian.log_prob(z))
    torch.testing.assert_close(q.mean, gaussian.mean)
    torch.testing.assert_close(q.scale, gaussian.scale, rtol=1e-6, atol=0)  # the draws are made in float32


def test_every_latent_variable_is_bent_by_the_others_and_by_x():
    head = shaken(FlowHead(3, make_generator(0, "weights")))
    features = toy.numbers(1, head.n_features, seed=3).expand(2, -1).clone()
    features[1, 6:] += 1  # the same Gaussian, another context
    q, epsilon = head(features), toy.numbers(2, 3, seed=4)
    epsilon[1] = epsilon[0]
    z = q._from_base(epsilon)
    assert (z[0] != z[1]).all()
    slopes = torch.autograd.functional.jacobian(q._from_base, epsilon)[0, :, 0]  # ∂z/∂ε of the first row
    assert (slopes != 0).all()


def test_the_density_integrates_to_one_and_draws_have_its_moments():
    p = shaken(FlowPrior(D, make_generator(0, "weights")))()
    with torch.no_grad():
        log_p = p.log_prob(GRID)[:, 0] + LOG_AREA
        drawn = p.rsample((5000,), noise())
    assert not torch.allclose(log_p - LOG_AREA, StandardNormal(D, GRID).log_prob(GRID)[:, 0], atol=0.3)
    assert log_p.logsumexp(0).abs() < 1e-3
    mean = (log_p.exp().unsqueeze(-1) * GRID[:, 0]).sum(0)
    variance = (log_p.exp().unsqueeze(-1) * (GRID[:, 0] - mean).square()).sum(0)
    assert ((drawn.mean(0) - mean).abs() < 4 * drawn.std(0) / math.sqrt(len(drawn))).all()
    squared = (drawn - mean).square()
    assert ((squared.mean(0) - variance).abs() < 4 * squared.std(0) / math.sqrt(len(drawn))).all()


def test_the_posterior_integrates_to_one_for_every_row_and_knows_its_moments():
    batch, q = first_batch(), posterior()(first_batch())
    with torch.no_grad():
        log_q = q.log_prob(GRID.expand(-1, len(batch.x), -1)) + LOG_AREA
        assert log_q.logsumexp(0).abs().max() < 3e-3
        mean = (log_q.exp().unsqueeze(-1) * GRID).sum(0)
        sd = (log_q.exp().unsqueeze(-1) * (GRID - mean).square()).sum(0).sqrt()
        assert ((q.mean - mean).abs() < 4 * sd / math.sqrt(64)).all()
        assert (q.scale / sd - 1).abs().max() < 0.3


@pytest.mark.parametrize(("learned", "bent"), [(False, True), (True, False), (True, True)])
def test_log_p_is_the_integral_over_a_grid(learned, bent):
    prior = shaken(FlowPrior(D, make_generator(0, "weights"))) if learned else None
    p, data = model(prior), rows()
    q = posterior(bent)
    with torch.no_grad():
        exact = p.log_joint(first_batch(), GRID.expand(-1, len(data), -1)).logsumexp(0) + LOG_AREA
    K = 4000
    log_p, ess = importance_weighted(Evaluation(p, q, data, noise()), K)
    assert ess.median() > 100  # else the tolerance says nothing
    assert ((log_p - exact).abs() < 4 * torch.sqrt((1 / ess - 1 / K).clamp_min(0)) + 1e-6).all()


@pytest.mark.parametrize("learned", [False, True])
def test_the_kl_is_the_integral_in_expectation(learned):
    prior = shaken(FlowPrior(D, make_generator(0, "weights"))) if learned else None
    p, q, batch, S = model(prior), posterior(), first_batch(), 1000
    with torch.no_grad():
        log_q = q(batch).log_prob(GRID.expand(-1, len(batch.x), -1))
        exact = ((log_q + LOG_AREA).exp() * (log_q - p.prior().log_prob(GRID))).sum(0)
        draw = p.draw(batch, q, Objective(lambda d, s: d.log_px, S), noise())
    error = (draw.log_qz - draw.log_pz).std(0) / math.sqrt(S)
    assert draw.kl.shape == (len(batch.x), 1)
    assert ((draw.kl[:, 0] - exact).abs() < 4 * error + 1e-4).all()


def test_there_and_back_in_float32():
    p = shaken(FlowPrior(20, make_generator(0, "weights")), 0.05).float()()
    z = 2 * toy.numbers(50, 7, 20, seed=1).float()
    there, _ = p.to_base.call_and_ladj(z)
    torch.testing.assert_close(p.to_base.inv(there), z, atol=1e-3, rtol=1e-3)


def test_nothing_global_is_drawn_from():
    state = torch.get_rng_state()
    q = posterior()(first_batch())
    assert isinstance(q, Pushforward)
    assert q.rsample((3,), noise()).shape == (3, 5, D)
    assert torch.equal(q.rsample((3,), noise(1)), q.rsample((3,), noise(1)))
    assert q.mean.shape == q.scale.shape == (5, D)
    assert torch.equal(torch.get_rng_state(), state)


def clusters(n: int = 400) -> np.ndarray:
    generator = np.random.default_rng(0)
    corners = np.array([[-3, -3, 3], [3, 3, 3], [-3, 3, -3], [3, -3, -3]])
    return corners[generator.integers(4, size=n)] + 0.3 * generator.normal(size=(n, 3))


@pytest.mark.parametrize("flow", [{"prior": "flow"}, {"posterior": "flow"}])
def test_a_flow_fits_clusters_better(flow):
    X, settings = clusters(), SETTINGS | {"network": MLP((32,)), "early_stopping": False, "max_epochs": 12}
    plain, vae = (VAE(2, **settings, **chosen).fit(X) for chosen in ({}, flow))
    assert vae.elbo_terms(X, 32).elbo.mean() > plain.elbo_terms(X, 32).elbo.mean() + 0.2


@pytest.mark.filterwarnings("ignore::lowerbound.UnreliableEstimateWarning")  # few chains
@pytest.mark.parametrize("flow", [{"prior": "flow"}, {"posterior": "flow"}, {"prior": "flow", "posterior": "flow"}])
def test_everything_else_works_with_flows(tmp_path, flow):
    X = IRIS.copy()
    X[::7, 1] = np.nan
    X[3] = np.nan
    vae = VAE(2, **SETTINGS, **flow).fit(X)
    assert vae.sample(5).shape == (5, 4)
    assert vae.transform(X).shape == vae.encode(X)[1].shape == (150, 2)
    assert vae.encode(X[:3], draw=True, n_draws=4).shape == (3, 4, 2)
    assert np.isfinite(vae.reconstruct(X)).all()
    scores = vae.score_samples(X, 8)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(vae.score_samples(X[4:5], 8), scores[4:5], rtol=1e-9)
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(X, 8), scores)
    ais = vae.log_likelihood(X[:8], method="ais", n_temperatures=10, n_chains=4, n_leapfrog=2)
    many = vae.log_likelihood(X[:8], 500)
    assert abs(ais.value - many.value) < 4 * ais.standard_error
    bits = vae.summary(X).bits
    assert bits.total == pytest.approx(bits.z + bits.x - bits.back)
    filled = VAEImputer(estimator=vae, n_importance=50).fit(X).transform(X)
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert np.isfinite(filled).all()
    detector = VAEOutlierDetector(estimator=vae).fit(X)
    assert detector.score_samples(np.full((1, 4), 20.0)) < detector.score_samples(IRIS).min()


@pytest.mark.parametrize("flow", [{"prior": "flow"}, {"posterior": "flow"}])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path, flow):
    from lowerbound.training.watch import Watch

    class Stop(Watch):
        def should_stop(self):
            return True

    whole = VAE(2, **SETTINGS, **flow).fit(IRIS)
    VAE(2, **SETTINGS, **flow).fit(IRIS, checkpoint=tmp_path / "run", watch=Stop())
    continued = VAE(2, **SETTINGS, **flow).fit(IRIS, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(whole.score_samples(IRIS, 4), continued.score_samples(IRIS, 4))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prior": "flow", "latent_dim": 1}, "needs latent_dim=2 or more"),
        ({"posterior": "flow", "prior": "vamp"}, "use prior='mixture' or 'flow'"),
        ({"posterior": "flow", "objective": ELBO(free_bits=0.1)}, r"which posterior=FlowPosterior\(\) can't give"),
        ({"prior": "flow", "objective": ELBO(free_bits=0.1)}, r"which prior=FlowPrior\(\) can't give"),
        ({"prior": "flow", "posterior": "shared"}, "needs prior='normal'"),
        ({"posterior": "flow", "objective": SampledELBO(gradient="stl")}, "use 'pathwise'"),
        ({"posterior": "flow", "latent_dim": Ladder(2)}, r"posterior=FlowPosterior\(\) is for one level"),
    ],
)
def test_what_does_not_go_together_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        VAE(**({"latent_dim": 2} | SETTINGS | parameters)).fit(IRIS)


def test_a_flow_is_not_compiled_and_an_error_says_so():
    """Its transformations are made anew in every step."""
    with pytest.raises(ValueError, match="leave compile=False"):
        VAE(2, prior="flow", **(SETTINGS | {"optimizer": Adam(compile=True)})).fit(IRIS)


def test_without_the_library_an_error_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **keywords):
        if name.startswith("zuko"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'lowerbound\[flows\]'"):
        VAE(2, prior="flow", **SETTINGS).fit(IRIS)
