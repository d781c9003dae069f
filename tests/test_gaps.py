"""NaN means "not observed": in fits, scores, codes and reconstructions, whatever the model."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from lowerbound import (
    MCEM,
    MLP,
    PPCA,
    RBM,
    VAE,
    Amortized,
    Autoencoder,
    BernoulliLikelihood,
    ExplicitModel,
    FactorAnalysis,
    Factorized,
    Fitted,
    Ladder,
    MeanField,
    Mixture,
    MixturePrior,
    PixelRNN,
    VAEImputer,
    VAEOutlierDetector,
    VampPrior,
    fit,
    load,
)
from lowerbound.core import Batch, ObjectiveState
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.schema import ConstantFeatureWarning
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import elbo, iwae
from lowerbound.inference.posteriors import PriorWhereUnobserved, gaussian_where
from lowerbound.models.ladder import Levels

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # brief fits

IRIS = load_iris().data
rng = np.random.default_rng(0)


def with_gaps(X: np.ndarray, share: float = 0.3, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


GAPPY = with_gaps(IRIS)
BITS = (IRIS.mean(0) < IRIS).astype(float)


def small_vae(**parameters) -> VAE:
    return VAE(**{"latent_dim": 2, "max_epochs": 20, "random_state": 0, "network": MLP((16,)), **parameters})


@pytest.fixture(scope="module")
def vae() -> VAE:
    return small_vae().fit(GAPPY)


# what the statistics are of


def test_mean_and_spread_are_those_of_the_observed_entries(vae):
    np.testing.assert_allclose(vae.schema_.location, np.nanmean(GAPPY, 0), rtol=1e-12)
    np.testing.assert_allclose(vae.schema_.unit, np.nanstd(GAPPY, 0), rtol=1e-12)
    assert vae.schema_.gaps
    assert not small_vae(max_epochs=1).fit(IRIS).schema_.gaps


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "categorical"])
def test_independent_features_are_fitted_to_what_is_observed(likelihood):
    X = IRIS if likelihood == "gaussian" else BITS
    gappy = with_gaps(X)
    smoothing = {} if likelihood == "gaussian" else {"smoothing": 1e-9}
    model = Factorized(likelihood=likelihood, **smoothing).fit(gappy)
    alone = [Factorized(likelihood=likelihood, **smoothing).fit(c[~np.isnan(c)][:, None]) for c in gappy.T]
    columns = [m.score_samples(np.nan_to_num(c)[:, None]) for m, c in zip(alone, gappy.T, strict=True)]
    expected = np.where(np.isnan(gappy), 0, np.stack(columns, 1)).sum(1)
    np.testing.assert_allclose(model.score_samples(gappy), expected, rtol=1e-10)


# densities of what is observed


@pytest.mark.parametrize("estimator", [PPCA(2), FactorAnalysis(1)])
def test_linear_models_score_the_marginal_of_what_is_observed(estimator):
    model = estimator.fit(GAPPY)
    W, mean, noise = (
        model.loadings_.T,
        model.schema_.restore(model.model_.mean[None], expected=True)[0],
        model.noise_scale_,
    )
    covariance = W @ W.T + np.diag(noise**2)
    for row, score in zip(GAPPY[:40], model.score_samples(GAPPY[:40]), strict=True):
        o = ~np.isnan(row)
        expected = multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0
        assert score == pytest.approx(expected, abs=1e-9)


def test_em_over_gaps_beats_filling_them_by_means():
    W = rng.normal(size=(6, 2))
    X = rng.normal(size=(600, 2)) @ W.T + 0.3 * rng.normal(size=(600, 6))
    gappy = with_gaps(X, 0.4)
    filled = np.where(np.isnan(gappy), np.nanmean(gappy, 0), gappy)
    exact, naive, complete = (PPCA(2).fit(rows).score(X) for rows in (gappy, filled, X))
    assert complete - 0.2 < exact < complete
    assert naive < complete - 0.4


def test_a_mixture_of_bernoullis_is_fitted_over_gaps():
    gappy = with_gaps(BITS, 0.2)
    model = Mixture(2, random_state=0).fit(gappy)
    assert np.isfinite(model.score_samples(gappy)).all()
    both = [model.score_samples(np.array([[np.nan, 1, np.nan, b]])) for b in (0, 1)]
    one = model.score_samples(np.array([[np.nan, 1, np.nan, np.nan]]))
    assert np.logaddexp(*both) == pytest.approx(one, abs=1e-12)


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "isotropic"])
@pytest.mark.filterwarnings("ignore:most values of 1 of 4 features")  # on the grid
def test_a_mixture_of_gaussians_is_fitted_over_gaps(covariance):
    """What is hidden costs less than rows that would have to be dropped; log p is the marginal of what is observed."""
    model = Mixture(3, covariance=covariance, random_state=0).fit(GAPPY)
    whole = np.ma.masked_invalid(GAPPY)
    dropped = Mixture(3, covariance=covariance, random_state=0).fit(GAPPY[~np.isnan(GAPPY).any(1)])
    assert model.score(IRIS) > dropped.score(IRIS)
    np.testing.assert_array_equal(model.score_samples(whole), model.score_samples(GAPPY))
    grid = np.linspace(-10, 20, 6001)
    rows = np.column_stack([np.tile([5.8, 3.0, 4.0], (len(grid), 1)), grid])
    mass = np.exp(model.score_samples(rows)).sum() * (grid[1] - grid[0])
    assert mass == pytest.approx(np.exp(model.score_samples(np.array([[5.8, 3.0, 4.0, np.nan]])))[0], rel=1e-6)


def test_the_chain_rule_leaves_out_the_last_features():
    rows = IRIS.copy()
    rows[:50, 2:] = np.nan
    model = PixelRNN(hidden_size=8, max_epochs=2, random_state=0).fit(rows)
    short = model.score_samples(np.array([[5.0, 3.0, 1.0, np.nan]]))
    grid = np.linspace(-5, 7, 4001)
    long = model.score_samples(np.column_stack([np.tile([5.0, 3.0, 1.0], (len(grid), 1)), grid]))
    assert np.exp(long).sum() * (grid[1] - grid[0]) == pytest.approx(np.exp(short[0]), rel=1e-4)
    with pytest.raises(ValueError, match="observed after one that is missing"):
        model.score_samples(np.array([[np.nan, 3.0, 1.0, 1.0]]))


@pytest.mark.parametrize("model", [RBM(binarize="mean", n_hidden=2, max_epochs=1), Autoencoder(max_epochs=1)])
def test_models_that_need_complete_rows_say_so(model):
    with pytest.raises(ValueError, match=r"missing values \(NaN\).*not supported"):
        model.fit(GAPPY)
    with pytest.raises(ValueError, match="needs complete data"):
        model.fit(np.ma.masked_array(IRIS, np.isnan(GAPPY)))


# the VAE


def test_complete_data_need_no_branch_and_gaps_have_one():
    assert not any("gaps" in name for name in small_vae(max_epochs=1).fit(IRIS).posterior_.state_dict())
    branch = small_vae().fit(GAPPY).posterior_.encoder.network.gaps
    assert branch.bias is None
    assert branch.weight.abs().max() > 0.01  # it has learned


def test_what_lies_beneath_a_gap_is_never_read(vae):
    rows = vae.fitted_.rows(GAPPY)
    other = vae.fitted_.rows(GAPPY)
    other.raw = torch.where(other.observed, other.raw, 1e6)
    for a, b in zip(rows.batches(150), other.batches(150), strict=True):
        assert torch.equal(vae.posterior_(a).mean, vae.posterior_(b).mean)
        z = torch.zeros(1, 150, 2)
        assert torch.equal(vae.model_.log_px(a, z), vae.model_.log_px(b, z))


def test_no_gradient_comes_from_a_gap(vae):
    batch = next(iter(vae.fitted_.rows(GAPPY).batches(150)))
    x = batch.x.clone().requires_grad_()
    seen = Batch(x, batch.mask, batch.index, batch.missing)
    (vae.model_.log_px(seen, vae.posterior_(seen).mean[None]).sum()).backward()
    assert (x.grad[~batch.mask] == 0).all()
    assert (x.grad[batch.mask] != 0).any()


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "full"])
def test_the_posterior_of_a_row_of_which_nothing_is_known_is_the_prior(covariance):
    model = small_vae(posterior=Amortized(covariance), max_epochs=3).fit(np.vstack([GAPPY, np.full((1, 4), np.nan)]))
    nothing = np.full((2, 4), np.nan)
    mean, scale = model.encode(nothing)
    expected = np.ones((2, 2)) if covariance != "full" else np.tile(np.eye(2), (2, 1, 1))
    np.testing.assert_array_equal(mean, np.zeros((2, 2)))
    np.testing.assert_array_equal(scale, expected)
    np.testing.assert_array_equal(model.elbo(nothing), 0)
    np.testing.assert_allclose(model.score_samples(nothing), 0, atol=1e-12)


OTHERS = [  # than a Gaussian q and p(z) = N(0, I)
    pytest.param({"latent_dim": Ladder(2, 2, width=16), "network": "mlp"}, id="ladder"),
    pytest.param({"latent_dim": (2, 1)}, id="chain"),
    pytest.param({"prior": MixturePrior(3)}, id="mixture"),
    pytest.param({"prior": MixturePrior(3), "posterior": Amortized("full")}, id="mixture, full q"),
    pytest.param({"prior": MixturePrior(3), "posterior": Amortized(n_refinement_steps=3)}, id="mixture, refined"),
    pytest.param({"prior": MixturePrior(3), "posterior": MeanField(3)}, id="mixture, mean field"),
    pytest.param({"prior": VampPrior(3)}, id="pseudo-inputs"),
    pytest.param({"prior": "flow"}, id="flow"),
    pytest.param({"posterior": "flow"}, id="q by a flow"),
    pytest.param({"posterior": "shared"}, id="one q"),
]


def shaken(parameters: dict) -> VAE:
    """With weights that nothing has arranged."""
    model = small_vae(**{"max_epochs": 1, **parameters}).fit(GAPPY)
    generator = make_generator(0, "shake")
    with torch.no_grad():
        for parameter in torch.nn.ModuleList([model.model_, model.posterior_]).parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module", params=OTHERS)
def other(request) -> VAE:
    return shaken(request.param)


def test_a_row_of_which_nothing_is_known_has_log_p_0_whatever_the_posterior_is(other):
    rows = np.vstack([np.full((1, 4), np.nan), GAPPY[:3]])
    np.testing.assert_allclose(other.elbo(rows)[0], 0, atol=1e-6)
    np.testing.assert_allclose(other.score_samples(rows)[0], 0, atol=1e-6)
    # the others are what they are without it
    np.testing.assert_allclose(other.score_samples(rows)[1:], other.score_samples(GAPPY[:3]), rtol=1e-9)
    np.testing.assert_allclose(other.transform(rows)[1:], other.transform(GAPPY[:3]), rtol=1e-9)


def test_draws_for_a_row_of_which_nothing_is_known_are_those_of_the_prior(other):
    """Their distribution, by the energy distance to draws of p(z) against that among these."""
    n, noise = 1500, Noise(make_generator(0, "draws"))
    posterior = other.posterior_.eval()
    with torch.no_grad():
        q = posterior(next(other.fitted_.rows(np.ma.masked_all((1, 4))).batches(1)))
        ours = q.rsample((n,), noise)[:, 0]
        theirs = [other.model_.prior().rsample((n, 1), noise).reshape(n, -1) for _ in range(9)]
        mean, scale = q.mean[0], q.scale[0]
    usual = [energy_distance(theirs[i], theirs[i + 1]) for i in range(8)]
    assert energy_distance(ours, theirs[8]) < 2.5 * max(usual)
    if not isinstance(q, Levels):  # whose mean is that of every level given the means above
        pooled = torch.cat(theirs)
        assert (
            (pooled.mean(0) - mean).abs() < 5 * scale * (1 / len(pooled) + 1 / PriorWhereUnobserved.N_MOMENTS) ** 0.5
        ).all()
        assert (pooled.std(0) / scale - 1).abs().max() < 0.06


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖, which is 0 for one distribution alone (Székely & Rizzo, 2013)."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


@pytest.mark.parametrize("how", ["elbo", "iwae"])
def test_rows_of_which_nothing_is_known_teach_nothing(other, how):
    """Not even where the prior has its mass."""
    objective = {"elbo": elbo(), "iwae": iwae(4)}[how]
    modules = torch.nn.ModuleList([other.model_, other.posterior_]).train()
    batch = next(other.fitted_.rows(np.ma.masked_all((8, 4))).batches(8))
    draw = other.model_.draw(batch, other.posterior_, objective, Noise(make_generator(0, "draws")))
    loss = objective.loss(draw, ObjectiveState()).sum()
    modules.eval()
    assert loss.detach().abs() < 1e-5
    for gradient in torch.autograd.grad(loss, list(modules.parameters()), allow_unused=True):
        assert gradient is None or gradient.abs().max() < 1e-5


def test_the_noise_of_other_rows_does_not_depend_on_empty_ones():
    model = shaken({"prior": MixturePrior(3)})
    batches = [next(model.fitted_.rows(X).batches(4)) for X in (GAPPY[:2], np.vstack([GAPPY[:2], 4 * [np.nan]]))]
    draws = []
    for batch in batches:
        noise = Noise(make_generator(0, "draws"), shared=True)
        with torch.no_grad():
            q = model.posterior_.eval()(batch)
            draws.append(torch.stack([q.rsample((4,), noise) for _ in range(3)])[..., :2, :])
    torch.testing.assert_close(*draws)


def test_draws_of_different_empty_rows_differ():
    model = shaken({"prior": MixturePrior(3)})
    batch = next(model.fitted_.rows(np.ma.masked_all((3, 4))).batches(3))
    q = model.posterior_.eval()(batch)
    z = q.rsample((4,), Noise(make_generator(0, "draws")))
    assert torch.autograd.grad(z.sum(), model.model_.learned_prior.mean)[0].any()  # rows may be hidden from q alone
    with torch.no_grad():
        again = q.rsample((4,), Noise(make_generator(1, "draws")))
    assert len({round(float(value), 5) for value in torch.cat([z.detach(), again])[..., 0].flatten()}) == 24


def test_the_posterior_is_the_prior_even_if_the_model_was_fitted_to_complete_rows():
    model = small_vae(max_epochs=2).fit(IRIS)
    np.testing.assert_array_equal(model.transform(np.full((1, 4), np.nan)), 0)
    assert np.isfinite(model.score_samples(GAPPY)).all()


def test_gaps_leave_other_rows_as_they_are(vae):
    complete = small_vae(max_epochs=2).fit(IRIS)
    for model in (vae, complete):
        one_gap = IRIS.copy()
        one_gap[3, 1] = np.nan
        others = np.arange(150) != 3
        np.testing.assert_array_equal(model.transform(one_gap)[others], model.transform(IRIS)[others])
        np.testing.assert_array_equal(model.score_samples(one_gap)[others], model.score_samples(IRIS)[others])


def test_a_mask_of_nothing_changes_nothing():
    plain = small_vae(max_epochs=2).fit(IRIS)
    masked = small_vae(max_epochs=2).fit(np.ma.masked_array(IRIS, np.zeros(IRIS.shape, bool)))
    np.testing.assert_array_equal(plain.score_samples(IRIS), masked.score_samples(IRIS))


class Independent(ExplicitModel):
    """x ~ N(μ, I), where observed."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(4))

    def log_prob(self, batch):
        return torch.where(batch.mask, -0.5 * (batch.seen - self.mean).square(), 0.0).sum(-1)


def test_what_lies_beneath_a_mask_is_seen_by_nobody(vae):
    """Masked entries are the same as NaN, in every use that takes rows."""
    gaps = np.isnan(GAPPY)
    masked = np.ma.masked_array(np.where(gaps, 1e6, IRIS), gaps)
    detector = VAEOutlierDetector(n_estimators=1, n_steps=5, random_state=0).fit(GAPPY)
    uses = (
        lambda X: VAEImputer(models=("gaussian",), random_state=0).fit_transform(X),
        lambda X: VAEImputer(Mixture(2, random_state=0), random_state=0).fit_transform(X),
        lambda X: VAEImputer(models=("gaussian",), random_state=0).fit(X).sample_imputations(X, 2),
        lambda X: VAEImputer(models=("gaussian",), random_state=0).fit(X).impute_interval(X),
        lambda X: detector.explain(X[:9])["value"].to_numpy(float),
        lambda X: small_vae(max_epochs=1).fit(IRIS, context=X[:, 2:]).score_samples(IRIS, context=X[:, 2:]),
        lambda X: small_vae(max_epochs=1).fit(IRIS, context=X[:, 2]).score_samples(IRIS, context=X[:, 2]),
        lambda X: fit(Independent(), None, None, X, max_epochs=2).model.mean.detach(),
        lambda X: Fitted(vae.model_, vae.posterior_, schema=vae.schema_).score_samples(X),
    )
    for use in uses:
        np.testing.assert_array_equal(use(masked), use(GAPPY))


def test_masked_words_are_not_observed():
    words = np.ma.masked_array([["a", "1"], ["b", "2"]], [[False, True], [False, False]])
    assert nan_in_gaps(words).tolist() == [["a", np.nan], ["b", "2"]]
    whole = np.ma.masked_array([1, 2], [False, False])
    assert nan_in_gaps(whole).dtype == whole.dtype


def test_log_p_integrates_over_what_is_missing(vae):
    """∫ p(x₁, x₂, x₃, x₄) dx₄ = p(x₁, x₂, x₃), by quadrature."""
    grid = np.linspace(-6, 9, 1501)
    rows = np.column_stack([np.tile([5.8, 3.0, 4.0], (len(grid), 1)), grid])
    whole = np.exp(vae.score_samples(rows, n_importance=1000)).sum() * (grid[1] - grid[0])
    part = np.exp(vae.score_samples(np.array([[5.8, 3.0, 4.0, np.nan]]), n_importance=20_000))[0]
    assert whole == pytest.approx(part, rel=0.03)


@pytest.mark.parametrize("posterior", [Amortized(n_refinement_steps=5), MeanField(5), MCEM(5)])
def test_other_posteriors_pass_over_gaps(posterior):
    model = small_vae(posterior=posterior, max_epochs=2).fit(GAPPY)
    np.testing.assert_allclose(model.transform(np.full((1, 4), np.nan)), 0, atol=0)
    assert np.isfinite(model.score_samples(GAPPY[:5])).all()


def test_images_by_nan_or_by_a_mask():
    images = (255 * rng.random((60, 16, 16))).astype(np.uint8)
    mask = np.zeros(images.shape, bool)
    mask[:, 8:] = True
    vae = small_vae(max_epochs=1).fit(np.ma.masked_array(images, mask))
    assert (vae.schema_.likelihood, vae.schema_.dtype) == ("discretized_logistic", "uint8")
    assert vae.schema_.n_dimensions == 128  # the lower half was never observed
    changed = np.where(mask, 255 - images, images)
    np.testing.assert_array_equal(
        vae.score_samples(np.ma.masked_array(changed, mask)), vae.score_samples(np.ma.masked_array(images, mask))
    )
    with_nan = np.where(mask, np.nan, images)
    nan = small_vae(max_epochs=1, likelihood="discretized_logistic").fit(with_nan)
    np.testing.assert_array_equal(nan.score_samples(with_nan), vae.score_samples(np.ma.masked_array(images, mask)))
    assert vae.sample(2).dtype == np.uint8
    assert np.isnan(nan.sample(2)[:, 8:]).all()


def test_grey_values_with_gaps_can_be_binarized():
    grey = with_gaps(rng.random((80, 6)))
    model = small_vae(likelihood=BernoulliLikelihood("sample"), max_epochs=2).fit(grey)
    assert np.isfinite(model.score_samples(grey)).all()
    assert model.score_samples(np.full((1, 6), np.nan)) == pytest.approx(0, abs=1e-12)


def test_columns_and_rows_without_any_value():
    rows = GAPPY.copy()
    rows[:, 1] = np.nan
    rows[7] = np.nan
    with pytest.warns(ConstantFeatureWarning, match="1"):
        model = small_vae(max_epochs=2).fit(rows)
    drawn = model.sample(3)
    assert np.isnan(drawn[:, 1]).all()
    assert np.isfinite(drawn[:, [0, 2, 3]]).all()
    assert np.isfinite(model.score_samples(rows)).all()
    with pytest.raises(ValueError, match="every value of X is missing"):
        small_vae().fit(np.full((5, 2), np.nan))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": pd.array([1, 2, None, 4], dtype="Int64"), "b": [1.5, None, 2.5, 3.0]}),
        pd.DataFrame({"a": [1, 2, None, 4], "b": [1.5, pd.NA, 2.5, 3.0]}, dtype=object),
    ],
)
def test_none_and_na_are_gaps_too(frame):
    plain = np.array([[1, 1.5], [2, np.nan], [np.nan, 2.5], [4, 3]])
    expected = Factorized().fit(plain).score_samples(plain)
    np.testing.assert_allclose(Factorized().fit(frame).score_samples(frame), expected)
    as_objects = frame.to_numpy(dtype=object)
    np.testing.assert_allclose(Factorized().fit(as_objects).score_samples(as_objects), expected)


def test_infinite_values_are_still_refused():
    with pytest.raises(ValueError, match=r"1 infinite value.*row 2, column 1"):
        Factorized().fit([[1, 2], [np.nan, 3], [4, np.inf]])


def test_a_model_fitted_to_gaps_is_saved_and_loaded(vae, tmp_path):
    vae.save(tmp_path)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.score_samples(GAPPY), vae.score_samples(GAPPY))
    np.testing.assert_array_equal(loaded.sample(3), vae.sample(3))


def test_only_the_rows_of_which_nothing_is_known_become_the_prior():
    q = small_vae(max_epochs=1).fit(IRIS).posterior_
    batch = Batch(
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        torch.ones(3, 4, dtype=torch.bool),
        torch.arange(3),
    )
    before, after = q(batch), gaussian_where(torch.tensor([False, True, False]), q(batch), None)
    assert torch.equal(after.mean[::2], before.mean[::2])
    assert torch.equal(after.scale[::2], before.scale[::2])
    assert after.kl_to_standard_normal()[1].abs().max() == 0
