"""Mixtures of discretized logistics: masses sum to one, draws have them, colors work, and they fit two modes."""

import math

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy

from lowerbound import MLP, VAE, Adam, Ladder, LikelihoodError, load
from lowerbound.distributions.likelihoods.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticMixture
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.parameters import likelihoods as parts

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")


def mixture(S=1, B=1, K=3, event=(2,)) -> DiscretizedLogisticMixture:
    shape = (S, B, K, *event)
    location = toy.numbers(*shape, seed=1)
    components = DiscretizedLogistic(location, 0.1 * toy.numbers(*shape, seed=2).exp())
    return DiscretizedLogisticMixture(components, toy.numbers(*shape, seed=3).log_softmax(2))


def masses(p: DiscretizedLogisticMixture) -> torch.Tensor:
    return torch.stack([p.log_prob(torch.full((1, 2), float(level)))[0, 0].exp() for level in range(256)])


def test_masses_are_mixed_and_sum_to_one():
    p = mixture()
    probability = masses(p)
    torch.testing.assert_close(probability.sum(0), torch.ones(2, dtype=torch.float64))
    x = torch.tensor([[7.0, 255.0]])
    by_hand = sum(
        p.log_weight[0, 0, k].exp()
        * DiscretizedLogistic(p.components.mean_parameter[:, :, k], p.components.scale[:, :, k]).log_prob(x)[0, 0].exp()
        for k in range(3)
    )
    torch.testing.assert_close(p.log_prob(x)[0, 0].exp(), by_hand)
    torch.testing.assert_close(p.mean[0, 0], (torch.arange(256.0, dtype=torch.float64)[:, None] * probability).sum(0))


def test_draws_have_the_masses():
    p, n = mixture(), 20_000
    wide = DiscretizedLogisticMixture(
        DiscretizedLogistic(*(t.expand(n, -1, -1, -1) for t in (p.components.mean_parameter, p.components.scale))),
        p.log_weight.expand(n, -1, -1, -1),
    )
    drawn = wide.sample(Noise(make_generator(0, "noise")))
    assert drawn.shape == (n, 1, 2)
    probability = masses(p)
    for entry in range(2):
        for low, high in ((0, 1), (1, 100), (100, 160), (160, 255), (255, 256)):
            wanted = probability[low:high, entry].sum().item()
            found = ((drawn[:, 0, entry] >= low) & (drawn[:, 0, entry] < high)).double().mean().item()
            assert abs(found - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / n) + 1e-9


def two_modes(n: int = 400) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.where(generator.random((n, 4)) < 0.5, 20, 230).astype(np.uint8) + generator.integers(
        0, 8, (n, 4), dtype=np.uint8
    )


def test_two_modes_need_two_logistics():
    X = two_modes()
    settings = {
        "network": MLP((8,)), "optimizer": Adam(1e-2), "early_stopping": False, "max_epochs": 40, "random_state": 0,
    }  # fmt: skip
    single, double = (VAE(1, likelihood=parts.DiscretizedLogistic(k), **settings).fit(X).score(X) for k in (1, 2))
    assert double > single + 2


@pytest.mark.parametrize("shape", [(20, 18), (20, 18, 3)])
@pytest.mark.parametrize("latent_dim", [2, Ladder(2, 2)])
def test_grey_and_color_images(tmp_path, shape, latent_dim):
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), dtype=np.uint8)
    vae = VAE(latent_dim, likelihood=parts.DiscretizedLogistic(5), max_epochs=1, random_state=0).fit(images)
    assert vae.sample(2).shape == (2, *shape)
    assert vae.sample(2).dtype == np.uint8
    assert vae.reconstruct(images[:2]).shape == (2, *shape)
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(images, 4), vae.score_samples(images, 4))


def test_what_has_no_mixture_is_refused():
    with pytest.raises(ValueError, match=r"a mixture \(n_components=3\) has its scales from the decoder"):
        parts.DiscretizedLogistic(3, "shared")
    with pytest.raises(LikelihoodError, match=r"whole numbers.*fractions"):
        VAE(2, likelihood=parts.DiscretizedLogistic(3), max_epochs=1).fit(two_modes() / 255)
