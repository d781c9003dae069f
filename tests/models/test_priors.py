"""Learned priors: densities against another library, log p(x) against its closed form, draws against moments."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tests import linear_gaussian as toy
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from lowerbound import ELBO, MLP, VAE, Adam, Amortized, GaussianLikelihood, load
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.objectives import elbo
from lowerbound.models.priors.mixture import GaussianMixture, MixturePrior
from lowerbound.models.priors.vamp import VampPrior
from lowerbound.models.vae import LatentModel
from lowerbound.parameters import priors as parts

K = 4


def mixture(d: int = toy.D) -> GaussianMixture:
    return GaussianMixture(
        toy.numbers(K, d, seed=1), 0.3 * toy.numbers(K, d, seed=2), toy.numbers(K, seed=3).log_softmax(0)
    )


def reference(p: GaussianMixture) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=p.log_weight), Independent(Normal(p.mean, p.log_scale.exp()), 1))


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


def test_density_of_the_mixture_is_that_of_another_library():
    p, z = mixture(5), 3 * toy.numbers(3, 7, 5, seed=4)
    torch.testing.assert_close(p.log_prob(z), reference(p).log_prob(z))


def test_narrow_components_far_from_zero_keep_their_density_in_float32():
    mean = 5 + toy.numbers(K, 20, seed=1).float()
    p = GaussianMixture(mean, torch.full_like(mean, math.log(0.01)), torch.zeros(K).log_softmax(0))
    z = mean[:3].unsqueeze(0) + 0.01 * toy.numbers(2, 3, 20, seed=4).float()
    exact = GaussianMixture(mean.double(), p.log_scale.double(), p.log_weight.double())
    assert p.log_prob(z).dtype == torch.float32
    torch.testing.assert_close(p.log_prob(z).double(), reference(exact).log_prob(z.double()), atol=1e-4, rtol=1e-6)


def test_draws_of_the_mixture_have_its_moments():
    p, n = mixture(), 40_000
    z = p.rsample((n,), noise())
    assert z.shape == (n, toy.D)
    error = z.std(0) / math.sqrt(n)
    assert ((z.mean(0) - reference(p).mean).abs() < 4 * error).all()
    squared = (z - reference(p).mean).square()
    assert ((squared.mean(0) - reference(p).variance).abs() < 4 * squared.std(0) / math.sqrt(n)).all()


def test_log_p_with_a_mixture_prior_is_a_mixture_of_marginals():
    simple = toy.model()
    W, b = toy.parameters(simple)
    learned = MixturePrior(K, toy.D, make_generator(0, "weights")).double()
    p = LatentModel(simple.decoder, toy.D, learned_prior=learned)
    m = learned()
    covariance = W @ torch.diag_embed(torch.exp(2 * m.log_scale)) @ W.T + toy.SIGMA**2 * torch.eye(toy.F)
    exact = MixtureSameFamily(Categorical(logits=m.log_weight), MultivariateNormal(m.mean @ W.T + b, covariance))
    x = toy.numbers(30, toy.F, seed=9)
    q = toy.ExactPosterior(simple, widen=1.3)
    log_p, ess = importance_weighted(Evaluation(p, q, toy.rows(x), noise()), 20_000)
    error = torch.sqrt((1 / ess - 1 / 20_000).clamp_min(0)) + 1e-9
    assert ((log_p - exact.log_prob(x)).abs() < 4 * error).all()


def test_the_sampled_kl_has_the_closed_form_as_its_mean():
    prior = MixturePrior(1, toy.D, make_generator(0, "weights")).double()
    with torch.no_grad():
        prior.mean.zero_()
        prior.log_scale.zero_()
    simple = toy.model()
    p, q = LatentModel(simple.decoder, toy.D, learned_prior=prior), toy.posterior("diagonal")
    batch = next(toy.rows(toy.numbers(5, toy.F, seed=9)).batches(5))
    kl = torch.stack([p.draw(batch, q, elbo(200), noise(seed)).kl for seed in range(50)])
    assert kl.shape == (50, 5, 1)
    exact = simple.draw(batch, q, elbo(), noise()).kl.sum(-1)
    assert ((kl.mean(0)[:, 0] - exact).abs() < 4 * kl.std(0)[:, 0] / math.sqrt(50)).all()


def test_vamp_is_the_mean_of_the_posteriors_of_its_inputs():
    encoder = toy.posterior("diagonal").encoder
    prior = VampPrior(encoder.forward, (K, toy.F), make_generator(0, "weights")).double()
    u, z = toy.numbers(K, toy.F, seed=5), toy.numbers(2, 6, toy.D, seed=6)
    prior.start_from(u)
    q = encoder(u)
    each = Independent(Normal(q.mean, q.scale), 1).log_prob(z.unsqueeze(-2))
    torch.testing.assert_close(prior().log_prob(z), each.logsumexp(-1) - math.log(K))
    assert {name for name, _ in prior.named_parameters()} == {"raw"}  # the encoder is the posterior's


def test_pseudo_inputs_of_bounded_data_stay_within_their_range():
    encoder = toy.posterior("diagonal").encoder
    prior = VampPrior(encoder.forward, (K, toy.F), make_generator(0, "weights"), highest=255.0)
    x = torch.tensor([[0.0, 100.0, 255.0]])
    prior.start_from(x)
    torch.testing.assert_close(prior.inputs()[:1], x.clamp(0.02 * 255, 0.98 * 255))
    with torch.no_grad():
        prior.raw.mul_(100)
    assert prior.inputs().min() >= 0
    assert prior.inputs().max() <= 255


def clusters(n: int = 400) -> np.ndarray:
    generator = np.random.default_rng(0)
    corners = np.array([[-3, -3, 3], [3, 3, 3], [-3, 3, -3], [3, -3, -3]])
    return corners[generator.integers(4, size=n)] + 0.3 * generator.normal(size=(n, 3))


SETTINGS = {
    "network": MLP((32,)), "likelihood": GaussianLikelihood(0.3), "optimizer": Adam(1e-2), "early_stopping": False,
    "max_epochs": 60, "random_state": 0,
}  # fmt: skip


@pytest.mark.parametrize("prior", [parts.MixturePrior(8), parts.VampPrior(8)])
def test_a_learned_prior_fits_clusters_better_and_comes_back_from_a_file(tmp_path, prior):
    X = clusters()
    plain = VAE(2, **SETTINGS).fit(X)
    vae = VAE(2, prior=prior, **SETTINGS).fit(X)
    assert vae.elbo_terms(X, 32).elbo.mean() > plain.elbo_terms(X, 32).elbo.mean() + 0.1
    drawn = vae.sample(2000, random_state=1)
    se = drawn.std(0) / math.sqrt(2000) + X.std(0) / math.sqrt(len(X))
    assert (np.abs(drawn.mean(0) - X.mean(0)) < 5 * se).all()
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(X), vae.score_samples(X))
    refined = clone(vae).set_params(posterior=Amortized(n_refinement_steps=5), max_epochs=2).fit(X)
    assert np.isfinite(refined.score(X))


def test_pseudo_inputs_start_from_rows_of_the_data():
    X = clusters()
    vae = VAE(2, prior=parts.VampPrior(8), **SETTINGS).set_params(max_epochs=1, optimizer=Adam(1e-9)).fit(X)
    inputs = vae.schema_.restore(vae.model_.learned_prior.inputs(), expected=True)
    distance = np.linalg.norm(inputs[:, None] - X, axis=-1).min(1)
    assert distance.max() < 1e-3
    assert len(np.unique(inputs, axis=0)) == 8


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prior": "vamp", "posterior": "mean_field"}, "made of the encoder"),
        ({"prior": "mixture", "posterior": "shared"}, "needs prior='normal'"),
        (
            {"prior": "mixture", "objective": ELBO(free_bits=0.1)},
            r"free_bits needs the KL of each latent variable.*prior=MixturePrior\(\)",
        ),
        ({"prior": "mixture", "objective": ELBO(gradient="score")}, "use SampledELBO"),
        ({"prior": "vamp", "posterior": Amortized("full")}, "can't be used with covariance='full'"),
        ({"prior": "vamp", "likelihood": "categorical"}, "can't be used with categories"),
        ({"prior": "flows"}, "prior must be 'normal' or 'mixture' or 'vamp' or 'flow'"),
    ],
)
def test_what_does_not_go_together_is_refused(parameters, message):
    X = clusters(50) if "likelihood" not in parameters else np.arange(60).reshape(20, 3) % 3
    with pytest.raises(ValueError, match=message):
        VAE(2, **(SETTINGS | parameters)).fit(X)
