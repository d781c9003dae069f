"""Ladders and chains of levels: densities integrate to one, log p(x) is that of a grid, one pass says what many do."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from tests import linear_gaussian as toy

from lowerbound import ELBO, IWAE, MLP, VAE, Adam, Amortized, GaussianLikelihood, Ladder, SampledELBO, load
from lowerbound.core import Objective
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.ladder import Levels
from lowerbound.nn.hierarchical import feature_shapes
from lowerbound.tasks.outlier_scores import level_ratio

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")

IRIS = load_iris().data
DIGITS = (load_digits().images[:300] * 255 / 16).round().astype(np.uint8)
BIG = DIGITS.repeat(3, 1).repeat(3, 2)[:, :19, :22]
BRIEF = {"max_epochs": 1, "random_state": 0}
MODELS = {"latent_dim": Ladder(2, 1, width=8), **BRIEF}
CHAIN = {"latent_dim": (1, 1), "network": MLP((8,)), **BRIEF}
KINDS = [pytest.param(MODELS, id="ladder"), pytest.param(CHAIN, id="chain")]
PICTURES = [
    pytest.param({"latent_dim": Ladder(3, 2), "network": "conv", **BRIEF}, id="ladder on grids"),
    pytest.param({"latent_dim": Ladder(3, 3, width=8), "network": "mlp", **BRIEF}, id="ladder of rows"),
    pytest.param({"latent_dim": (4, 3, 2), "network": MLP((8,)), **BRIEF}, id="chain"),
]


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


def shaken(vae: VAE, size: float = 0.25):
    """The model and its posterior with weights that nothing has arranged, in float64."""
    generator = make_generator(5, "shake")
    modules = torch.nn.ModuleList([vae.model_, vae.posterior_]).double()
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return vae.model_, vae.posterior_


def toy_of(parameters):
    vae = VAE(likelihood=GaussianLikelihood(0.8, standardize=False), **parameters).fit(IRIS[:, :2])
    model, posterior = shaken(vae)
    x = torch.from_numpy(IRIS[::20, :2]) - 4
    return model, posterior, toy.rows(x)


def grid(half: float = 12.0, n: int = 201) -> tuple[torch.Tensor, float]:
    line = torch.linspace(-half, half, n, dtype=torch.float64)
    return torch.cartesian_prod(line, line).unsqueeze(1), math.log(2 * half / (n - 1)) * 2


@pytest.mark.parametrize("parameters", KINDS)
def test_prior_and_posterior_integrate_to_one(parameters):
    model, posterior, rows = toy_of(parameters)
    z, log_area = grid()
    with torch.no_grad():
        q = posterior(next(rows.batches(len(rows))))
        of_q = q.log_prob(z.expand(-1, len(rows), -1)).logsumexp(0) + log_area
        of_p = model.prior().log_prob(z).logsumexp(0) + log_area
    assert of_q.abs().max() < 1e-3
    assert of_p.abs().max() < 1e-3


@pytest.mark.parametrize("parameters", KINDS)
def test_log_p_is_the_integral_over_a_grid(parameters):
    model, posterior, rows = toy_of(parameters)
    z, log_area = grid()
    batch = next(rows.batches(len(rows)))
    with torch.no_grad():
        exact = model.log_joint(batch, z.expand(-1, len(rows), -1)).logsumexp(0) + log_area
    K = 20_000
    log_p, ess = importance_weighted(Evaluation(model, posterior, rows, noise()), K)
    error = torch.sqrt((1 / ess - 1 / K).clamp_min(0))
    assert ess.median() > 100  # else the tolerance says nothing
    assert ((log_p - exact).abs() < 4 * error).all()


@pytest.mark.parametrize("parameters", KINDS)
def test_the_kl_is_the_mean_of_log_q_less_log_p(parameters):
    model, posterior, rows = toy_of(parameters)
    batch, S = next(rows.batches(len(rows))), 4000
    with torch.no_grad():
        draw = model.draw(batch, posterior, Objective(lambda d, s: d.log_px, S), noise())
        difference = draw.log_qz - draw.log_pz
        error = difference.std(0) / math.sqrt(S)
        assert ((draw.kl.sum(-1) - difference.mean(0)).abs() < 4 * error + 1e-9).all()


def test_the_kl_of_a_ladder_is_that_of_every_level():
    model, posterior, rows = toy_of(MODELS)
    with torch.no_grad():
        draw = model.draw(next(rows.batches(8)), posterior, Objective(lambda d, s: d.log_px, 3000), noise())
    way = draw.posterior.last
    for level, part in enumerate(draw.z.split([1, 1], -1)):
        sampled = way.posterior[level].log_prob(part) - way.prior[level].log_prob(part)
        error = sampled.std(0) / math.sqrt(3000)
        assert ((draw.kl[:, level] - sampled.mean(0)).abs() < 4 * error).all()


def test_below_the_upper_levels_q_is_p():
    _, posterior, rows = toy_of(MODELS)
    with torch.no_grad():
        q = posterior(next(rows.batches(8)))
        z = q.rsample((5,), noise())
        top, below = z.split([1, 1], -1)
        expected = q.last.posterior[0].log_prob(top) + q.last.prior[1].log_prob(below)
        torch.testing.assert_close(q.upper(1).log_prob(z), expected)
        torch.testing.assert_close(q.upper(2).log_prob(z), q.log_prob(z))


def test_the_level_ratio_is_that_of_two_integrals_over_a_grid():
    model, posterior, rows = toy_of(MODELS)
    z, log_area = grid()
    batch = next(rows.batches(len(rows)))
    z = z.expand(-1, len(rows), -1)
    bounds = []
    with torch.no_grad():
        log_joint, q = model.log_joint(batch, z), posterior(batch)
        for one in (q, q.upper(1)):
            log_q = one.log_prob(z)
            bounds.append(((log_q + log_area).exp() * (log_joint - log_q)).sum(0))
    runs = torch.stack([level_ratio(Evaluation(model, posterior, rows, noise(seed)), 8000) for seed in range(12)])
    error = runs.std(0) / math.sqrt(len(runs))
    assert ((runs.mean(0) - (bounds[0] - bounds[1])).abs() < 5 * error + 1e-3).all()
    assert (bounds[0] - bounds[1]).abs().min() > 10 * error.max()  # else the tolerance says nothing
    with pytest.raises(ValueError, match="ladder"):
        level_ratio(Evaluation(*toy_of(KINDS[-1].values[0]), noise()))


@pytest.mark.parametrize("parameters", PICTURES)
def test_one_way_down_says_what_a_new_one_says(parameters):
    model, posterior = shaken(VAE(**parameters, likelihood="discretized_logistic").fit(BIG), 0.1)
    vae = VAE(**parameters).fit(BIG)
    batch = next(vae.fitted_.exactly().rows(BIG[:6]).batches(6))
    with torch.no_grad():
        draw = model.draw(batch, posterior, Objective(lambda d, s: d.log_px, 3), noise())
        again = posterior(batch)
        assert draw.z.shape == (3, 6, model.latent_dim)
        torch.testing.assert_close(draw.log_px, model.log_px(batch, draw.z))
        torch.testing.assert_close(draw.log_qz, again.log_prob(draw.z))
        torch.testing.assert_close(draw.log_pz, model.prior().log_prob(draw.z))
        torch.testing.assert_close(draw.log_px + draw.log_pz, model.log_joint(batch, draw.z))
        assert again.mean.shape == again.scale.shape == (6, model.latent_dim)


def test_a_z_that_was_scored_is_not_mistaken_for_another():
    model, posterior, rows = toy_of(MODELS)
    q = posterior(next(rows.batches(4)))
    with torch.no_grad():
        z = q.rsample((2,), noise())
        first = q.log_prob(z)
        assert not torch.allclose(q.log_prob(z + 1), first)
        torch.testing.assert_close(q.log_prob(z), first)
        prior = Levels(model, last=q.last)
        assert not torch.allclose(prior.log_prob(z + 1), prior.log_prob(z))


def test_draws_of_the_prior_have_its_moments():
    model, _, _ = toy_of(MODELS)
    z, log_area = grid()
    with torch.no_grad():
        weight = (model.prior().log_prob(z) + log_area).exp()
        mean = (weight * z[:, 0]).sum(0)
        drawn = model.prior().rsample((20_000,), noise())
    assert drawn.shape == (20_000, 2)
    assert ((drawn.mean(0) - mean).abs() < 4 * drawn.std(0) / math.sqrt(20_000)).all()


@pytest.mark.filterwarnings("ignore::lowerbound.UnreliableEstimateWarning")  # twenty samples, a brief fit
@pytest.mark.parametrize("parameters", PICTURES)
def test_everything_else_works_on_levels(tmp_path, parameters):
    vae = VAE(**parameters).fit(BIG)
    assert vae.sample(3).shape == (3, 19, 22)
    assert vae.reconstruct(BIG[:2]).shape == (2, 19, 22)
    assert vae.transform(BIG[:2]).shape == (2, vae.latent_dim_)
    mean, scale = vae.encode(BIG[:2])
    assert mean.shape == scale.shape
    assert vae.traverse(BIG[0], 1, [-1, 0, 1]).shape == (3, 19, 22)
    scores = vae.score_samples(BIG[:9], 5)
    np.testing.assert_allclose(vae.score_samples(BIG[4:5], 5), scores[4:5], rtol=1e-9)
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(BIG[:9], 5), scores)
    assert np.isfinite(vae.log_likelihood(BIG[:9], 20).value)
    assert vae.elbo_terms(BIG[:9]).kl.shape == (9, 1 if isinstance(vae.latent_dim, tuple) else 3)


@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize(("levels", "size"), [(1, 17), (2, 17), (4, 33), (6, 40)])
def test_grids_of_any_image(colors, levels, size):
    images = np.random.default_rng(0).integers(0, 256, (6, size, size + 3, colors), dtype=np.uint8)
    vae = VAE(latent_dim=Ladder(max(2, levels), 2), network="conv", max_epochs=1, random_state=0).fit(images)
    assert vae.sample(2).shape == (2, size, size + 3, colors)


def test_levels_are_shared_out_among_the_grids():
    sizes = [g.grid for g in feature_shapes((1, 28, 28), 5, 16, is_image=True)]
    assert sizes == [(14, 14), (7, 7), (7, 7), (4, 4), (4, 4)]
    assert [g.grid for g in feature_shapes((1, 28, 28), 2, 16, is_image=True)] == [(7, 7), (4, 4)]
    assert [g.width for g in feature_shapes((1, 28, 28), 3, 16, is_image=True)] == [16, 32, 64]


@pytest.mark.parametrize(
    "parameters",
    [
        {"latent_dim": Ladder(3, 4, width=64), "network": "mlp", "objective": ELBO(free_bits=0.1)},
        {"latent_dim": Ladder(2, 4, width=64), "network": "mlp", "objective": SampledELBO(n_samples=8)},
        {"latent_dim": Ladder(2, 4, width=64), "network": "mlp", "objective": IWAE(5)},
        {"latent_dim": (8, 4), "network": MLP((64,))},
        {"latent_dim": (8, 4), "network": MLP((64,)), "objective": IWAE(5, "vimco")},
    ],
)
def test_levels_learn(parameters):
    X = DIGITS > 100
    vae = VAE(**parameters, optimizer=Adam(6e-3), early_stopping=False, max_epochs=15, random_state=0).fit(X)
    start = clone(vae).set_params(max_epochs=1, optimizer=Adam(1e-9)).fit(X)
    assert vae.score(X) > start.score(X) + 2
    assert vae.n_active_units_ > 0


def test_the_two_layers_of_burda_et_al():
    vae = VAE((100, 50), network=MLP(activation="tanh"), max_epochs=1, random_state=0).fit(DIGITS > 100)
    layers = {
        name: [m.weight.shape[::-1] for m in module.modules() if isinstance(m, torch.nn.Linear)]
        for name, module in (("p", vae.model_), ("q", vae.posterior_))
    }
    assert {tuple(s) for s in layers["q"]} == {(64, 200), (200, 200), (200, 200), (100, 100), (100, 100)}
    assert sorted(map(tuple, layers["p"])) == sorted(
        [(50, 100), (100, 100), (100, 200), (100, 200), (200, 200), (200, 64)]
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"posterior": Amortized("full")}, r"Amortized\(covariance='full'\) is for one level"),
        ({"posterior": "mcem"}, r"MCEM\(\) is for one level"),
        ({"prior": "vamp"}, r"VampPrior\(\) is for one level"),
        ({"latent_dim": (4, 2), "objective": ELBO(free_bits=0.1)}, "free_bits needs the KL of each latent variable"),
        ({"objective": SampledELBO(gradient="stl")}, "gradient='stl' has no meaning for a ladder.* leave 'pathwise'"),
        ({"latent_dim": (4, 2), "objective": SampledELBO(gradient="stl")}, "use 'pathwise'"),
        ({"latent_dim": (4, 0)}, "latent_dim must be 'auto' or .* a whole number ≥ 1 or several"),
        ({"network": (torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))}, "make their own networks"),
        ({"network": MLP((8,))}, r"MLP\(hidden_layer_sizes=\(8,\)\) has no meaning for a ladder"),
    ],
)
def test_what_has_no_meaning_for_levels_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        VAE(**({"latent_dim": Ladder(2)} | BRIEF | parameters)).fit(IRIS)


def test_all_levels_of_a_ladder_are_of_one_size():
    with pytest.raises(ValueError, match=r"Ladder: latent_dim must be 'auto' or a whole number ≥ 1, got \(4, 2\)"):
        Ladder(3, (4, 2))
