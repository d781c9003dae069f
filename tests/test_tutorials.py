"""The tutorials run, and what they claim is so. ``models.py`` in its quick form: trained less, same claims."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal
from tutorials import demo, models, own_model

from lowerbound import Batch, load
from lowerbound.distributions.noise import make_generator


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    """Run one section, and return its numbers."""
    lesson = models.Lesson(tmp_path_factory.mktemp("models"), quick=True)
    return lambda name: models.run(getattr(models, name), lesson)


def agree(measured, exact, errors=4):
    """Whether a mean is within so many standard errors of what it should be."""
    return abs(measured[0] - exact) < errors * measured[1] + 1e-9


def test_every_section_is_tested():
    tests = [name for name in globals() if name.startswith("test_")]
    assert all(f"test_{section.__name__}" in tests for section in models.SECTIONS)


def test_why_model_p(section):
    assert section("why_model_p")["uniform"] == pytest.approx(-48 * math.log(2))


def test_unnormalized_network(section):
    found = section("unnormalized_network")
    assert found["sum"] == pytest.approx(1, abs=1e-5)
    assert found["sum 4×4"] == pytest.approx(1, abs=1e-5)
    assert found["network"].kind == "exact"
    assert "281,474,976,710,656" in found["refusal"]
    with pytest.raises(ValueError, match="131,072"):
        models.UnnormalizedNetwork(17, 1)


def test_an_unnormalized_network_learns_what_pixels_have_in_common():
    """Three equal pixels: independent coins give 8 images the same probability, the network gives two all of it."""
    X = np.repeat([[[0, 0, 0]], [[1, 1, 1]]], 20, axis=0)
    network = models.UnnormalizedNetwork(1, 3).fit(X, 100)
    assert network.score_samples(X).mean() == pytest.approx(-math.log(2), abs=0.02)
    assert network.log_probabilities().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_explicit_models(section):
    found = section("explicit_models")
    assert {name: e.kind for name, e in found.items()} == {
        "independent pixels": "exact", "mixture of 40": "exact", "RBM, 20 hidden": "exact", "PixelRNN": "exact",
        "VAE": "lower",
    }  # fmt: skip
    independent = found.pop("independent pixels")
    for estimate in found.values():
        assert estimate.value > independent.value + 4 * independent.standard_error


def test_latent_variables(section):
    found = section("latent_variables")
    assert found["smallest step"] >= -1e-9
    assert found["em"] == pytest.approx(found["closed form"], abs=1e-4)
    assert found[2].value < found[8].value < found[20].value


def test_naive_monte_carlo(section):
    found = section("naive_monte_carlo")
    prior, q = ([found[D][name] for D in (1, 8, 64)] for name in ("prior", "q"))
    assert prior[0][0] + 4 * prior[0][1] < prior[1][0]
    assert prior[1][0] + 4 * prior[1][1] < prior[2][0]
    assert prior[2][0] > 20
    assert max(mean + 4 * error for mean, error in q) < 0.2


def test_lower_bound(section):
    found = section("lower_bound")
    log_p = found["log p"]
    for name in ("the posterior", "best independent", "the prior"):
        mean, error, kl = found[name]
        assert agree((mean + kl, error), log_p)
    assert found["the posterior"][1] < 1e-10
    assert 0 < found["best independent"][2] < found["the prior"][2]
    bounds = [found[K][0] for K in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert found[1000][0] < log_p + 4 * found[1000][1]


def test_ways_of_inference(section):
    found = section("ways_of_inference")
    assert found["shared"]["bound"][0] == pytest.approx(found["ignoring z"], abs=0.05)
    for name in ("mean_field", "amortized", "refined"):
        bound, log_p = found[name]["bound"], found[name]["log p"]
        assert bound[0] < 4 * bound[1]  # nothing is above the maximum
        assert bound[0] > found["shared"]["bound"][0] + 1
        assert bound[0] < log_p[0] + 4 * log_p[1]
    for name in ("mean_field", "amortized", "refined", "mcem"):
        assert abs(found[name]["log p"][0]) < 0.1


def test_gradients(section):
    found = section("gradients")
    for c in (0.0, -100.0):
        for name in ("score function", "reparameterized"):
            mean, error, variance, its_error, exact = found[name, c]
            assert agree((mean, error), -6)
            assert agree((variance, its_error), exact)
    assert found["at the start"] > 1e4
    assert 10 < found["trained"] < found["at the start"]


def test_autoencoder(section):
    found = section("autoencoder")
    strong, weak, none = (found[weight] for weight in (1.0, 0.1, 0.001))
    assert strong["scale"] > weak["scale"] > none["scale"]
    assert strong["kl"] < weak["kl"] < none["kl"]
    assert strong["rebuilt"] < weak["rebuilt"] < none["rebuilt"]
    assert none["elbo"] < weak["elbo"] < strong["elbo"]
    assert found["autoencoder"] == pytest.approx(none["rebuilt"], abs=1)
    assert "no distribution of codes" in found["refusal"]


def test_learn_the_ring(section):
    found = section("learn_the_ring")
    assert found["gap"][0] > 4 * found["gap"][1]  # a bound, and of a model that isn't the true one
    assert found["gap"][0] < found["gap of a cloud"][0] / 2
    assert found["hole"] < 0.15
    assert found["angle"] < 0.1


def test_the_density_of_the_ring_integrates_to_one():
    """Over a fine grid of radii; all angles are alike."""
    r = np.linspace(1 + 1e-6, 2.5, 20_001)
    density = np.exp(models.ring_log_density(np.stack([r, np.zeros_like(r)], 1)))
    assert np.trapezoid(density * 2 * math.pi * r, r) == pytest.approx(1, abs=1e-5)


def test_inverse_cdfs(section):
    found = section("inverse_cdfs")
    assert all(found[name] > 1e-3 for name in ("exponential", "two bumps", "arcsine", "checkerboard"))
    assert found["white"] == 0


def test_demo(tmp_path):
    found = demo.main(tmp_path, max_epochs=6)
    independent, vae = found["independent pixels"], found["VAE"]
    assert (independent.kind, vae.kind) == ("exact", "lower")
    assert vae.value > independent.value + 4 * independent.standard_error
    assert {path.name for path in tmp_path.iterdir()} == {
        "samples.png", "reconstructions.png", "latent_map.png", "model"
    }  # fmt: skip
    assert load(tmp_path / "model").sample(2).shape == (2, 8, 8)


def test_own_model(tmp_path):
    """Resumed as if never interrupted; better than one Gaussian by far more than its standard error of .3."""
    found = own_model.main(tmp_path)
    assert found["resumed"] == found["mixture"]
    assert found["mixture"] > found["one Gaussian"] + 0.5


def test_own_model_scores_what_is_observed_exactly():
    """Against the marginals of normal distributions; what is missing is integrated out."""
    x = torch.randn(4, 3, generator=make_generator(0, "x"))
    mask = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])
    p = own_model.FactorAnalyzers(x, 2, 1)
    log_p = p.log_prob(Batch(x, mask, torch.arange(4)))
    cov = p.W @ p.W.mT + torch.diag(p.log_psi.exp())
    for row, seen, value in zip(x, mask, log_p, strict=True):
        each = [MultivariateNormal(m[seen], c[seen][:, seen]).log_prob(row[seen]) if seen.any() else torch.zeros(())
                for m, c in zip(p.mean, cov, strict=True)]  # fmt: skip
        torch.testing.assert_close(value, (p.logits.log_softmax(0) + torch.stack(each)).logsumexp(0))
