"""Filling gaps: importance sampling against exact conditionals."""

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound.core import Batch, ElementwiseModel, NoPosterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.likelihoods.categorical import Categorical
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.bernoulli_mixture import MixtureOfBernoullis
from lowerbound.models.factorized import IndependentCategorical, IndependentNormal
from lowerbound.models.gaussian import MixtureOfDiagonalGaussians
from lowerbound.models.ppca import LinearGaussian
from lowerbound.tasks import conditional

N = 12


def noise_of(seed: int = 0, *, shared: bool = False) -> Noise:
    return Noise(make_generator(seed, "impute"), shared)


class WithGaps(RowsInMemory):
    """Rows in memory of which some entries are hidden."""

    def __init__(self, x: torch.Tensor, observed: torch.Tensor, hidden_value: float = 99.0) -> None:
        everything = torch.ones(x.shape[1:], dtype=torch.bool)
        super().__init__(x, lambda raw, noise: raw, everything, torch.device("cpu"))
        self.hidden, self.hidden_value = ~observed, hidden_value

    def batches(self, *arguments, **options):
        for batch in super().batches(*arguments, **options):
            hidden = self.hidden[batch.index]
            yield Batch(torch.where(hidden, self.hidden_value, batch.x), batch.mask & ~hidden, batch.index)


def toy_rows(n: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    x = toy.marginal(toy.model()).mean + 2 * toy.numbers(n, toy.F, seed=5)
    observed = torch.rand(n, toy.F, generator=make_generator(1, "gaps")) < 0.5
    observed[0], observed[1:2] = False, True
    return x.detach(), observed


def exact(x: torch.Tensor, observed: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """E[x|x_o] and Cov[x|x_o] of the linear-Gaussian model, by numpy."""
    marginal = toy.marginal(toy.model())
    mean, cov = marginal.mean.detach().numpy(), marginal.covariance_matrix.detach().numpy()
    filled, covariance = x.numpy().copy(), np.zeros((len(x), *cov.shape))
    for i, o in enumerate(observed.numpy()):
        m = ~o
        gain = cov[np.ix_(m, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
        filled[i, m] = mean[m] + gain @ (filled[i, o] - mean[o])
        covariance[i][np.ix_(m, m)] = cov[np.ix_(m, m)] - gain @ cov[np.ix_(o, m)]
    return filled, covariance


def wide(batch: Batch, noise: Noise | None = None) -> DiagonalGaussian:
    """A proposal that knows nothing of x."""
    return DiagonalGaussian(batch.x.new_zeros(len(batch.x), toy.D), batch.x.new_full((1, 1), 0.1))


def test_expectations_of_a_linear_decoder_are_the_exact_ones():
    """Mean over repetitions, within 4 standard errors of the mean over them, and a bias that is O(1/K)."""
    x, observed = toy_rows()
    filled, _ = exact(x, observed)
    runs = [
        conditional.expected(Evaluation(toy.model(), wide, WithGaps(x, observed), noise_of(seed)), 4000)
        for seed in range(40)
    ]
    means = np.stack([run.x.numpy() for run in runs])
    error = means.std(0, ddof=1) / len(runs) ** 0.5
    assert (np.abs(means.mean(0) - filled) <= 4 * error + 1e-12).all()
    assert error[~observed.numpy()].max() < 0.03
    assert np.array_equal(means[0][observed], x[observed])
    ess = runs[0].ess
    assert ess is not None
    assert ess.shape == (N,)
    assert (ess > 20).all()
    assert (ess <= 4000).all()


@pytest.mark.parametrize("elements", [2**21, 200])
def test_draws_of_a_linear_decoder_have_the_exact_mean_and_covariance(elements, monkeypatch):
    """One draw from each of many repetitions of a row, in one pass and in many."""
    monkeypatch.setattr(conditional, "PASS_ELEMENTS", elements)
    x, observed = toy_rows(3)
    repeat, n_draws = (600, 5) if elements > 200 else (100, 5)
    rows = WithGaps(x.repeat(repeat, 1), observed.repeat(repeat, 1))
    drawn = conditional.drawn(Evaluation(toy.model(), wide, rows, noise_of()), n_draws, 500).x
    drawn = drawn.unflatten(1, (repeat, 3)).flatten(0, 1)
    filled, covariance = exact(x, observed)
    deviation = drawn - torch.from_numpy(filled)
    products = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    # the draws of a row share its samples, so that repetitions are the independent units
    for values, target in ((drawn, filled), (products, covariance)):
        means = values.unflatten(0, (n_draws, repeat)).mean(0)
        error = means.std(0) / repeat**0.5
        assert ((means.mean(0) - torch.from_numpy(target)).abs() <= 4.5 * error + 1e-9).all()


def test_draws_vary_as_x_does_and_not_only_as_z_does():
    x, observed = toy_rows(1)
    observed[:] = True
    observed[0, 0] = False
    drawn = conditional.drawn(Evaluation(toy.model(), wide, WithGaps(x, observed), noise_of()), 4000, 20_000).x[:, 0, 0]
    assert drawn.std() > toy.SIGMA * 0.95  # z alone would vary by less
    assert drawn.std().item() == pytest.approx(exact(x, observed)[1][0, 0, 0] ** 0.5, rel=0.06)


class Table:
    """A distribution whose draws are read from a table, however many are asked for at a time."""

    def __init__(self, q, draws: torch.Tensor, prior=None) -> None:
        self.mean, self.log_prob, self.draws, self.first, self.prior = q.mean, q.log_prob, draws, 0, prior

    def rsample(self, shape, noise):
        self.first += shape[0]
        return self.draws[self.first - shape[0] : self.first]


def test_what_streams_by_in_passes_is_what_one_pass_gives(monkeypatch):
    x, observed = toy_rows()
    draws = toy.numbers(300, N, toy.D, seed=8)
    normal = DiagonalGaussian(torch.zeros(toy.D), torch.zeros(toy.D))
    prior = lambda: Table(normal, toy.numbers(30, N, toy.D, seed=9))  # noqa: E731
    proposal = lambda batch, noise: Table(wide(batch), draws, prior())  # noqa: E731
    whole = conditional.expected(Evaluation(toy.model(), proposal, WithGaps(x, observed), noise_of()), 300)  # type: ignore[arg-type]
    monkeypatch.setattr(conditional, "PASS_ELEMENTS", N * toy.F * 7)  # seven samples at a time
    parts = conditional.expected(Evaluation(toy.model(), proposal, WithGaps(x, observed), noise_of()), 300)  # type: ignore[arg-type]
    torch.testing.assert_close(parts.x, whole.x)
    torch.testing.assert_close(parts.ess, whole.ess)


def test_each_sample_is_drawn_by_its_weight_though_it_streams_by_alone(monkeypatch):
    n = 4000  # the same row, with the same five samples
    monkeypatch.setattr(conditional, "PASS_ELEMENTS", n * toy.F)
    monkeypatch.setattr(conditional, "EVALUATION_BATCH", n)
    x, observed = (values[2:3].expand(n, -1) for values in toy_rows())
    draws = toy.numbers(5, 1, toy.D, seed=8).expand(5, n, -1)
    proposal = lambda batch, noise: Table(wide(batch), draws)  # noqa: E731
    mean = conditional.expected(Evaluation(toy.model(), proposal, WithGaps(x, observed), noise_of()), 5)  # type: ignore[arg-type]
    assert 1.2 < mean.ess[0] < 4  # type: ignore[index]
    drawn = conditional.drawn(Evaluation(toy.model(), proposal, WithGaps(x, observed), noise_of()), 1, 5).x[0]  # type: ignore[arg-type]
    assert ((drawn.mean(0) - mean.x[0]).abs() <= 4.5 * drawn.std(0) / n**0.5 + 1e-9).all()


@pytest.mark.parametrize("elements", [2**21, N * toy.F * 9])  # in one pass, and nine samples of all rows at a time
def test_a_row_is_filled_alone_as_among_others(elements, monkeypatch):
    monkeypatch.setattr(conditional, "PASS_ELEMENTS", elements)
    monkeypatch.setattr(conditional, "EVALUATION_BATCH", N)
    x, observed = toy_rows()
    together = conditional.expected(Evaluation(toy.model(), wide, WithGaps(x, observed), noise_of(shared=True)), 50).x
    alone = conditional.expected(
        Evaluation(toy.model(), wide, WithGaps(x[5:6], observed[5:6]), noise_of(shared=True)), 50
    ).x
    torch.testing.assert_close(together[5:6], alone, rtol=0, atol=1e-12)


def test_models_that_know_need_no_samples():
    model = LinearGaussian((toy.F,), toy.D)
    with torch.no_grad():
        W, b = toy.parameters(toy.model())
        for parameter, value in ((model.weights, W), (model.mean, b)):
            parameter.copy_(value)
        model.log_scale.fill_(np.log(toy.SIGMA))
    x, observed = toy_rows()
    filled, covariance = exact(x, observed)
    result = conditional.expected(Evaluation(model, NoPosterior(), WithGaps(x, observed), noise_of()))
    np.testing.assert_allclose(result.x, filled, atol=1e-10)
    assert result.ess is None
    drawn = conditional.drawn(Evaluation(model, NoPosterior(), WithGaps(x, observed), noise_of()), 20_000).x
    deviation = drawn - torch.from_numpy(filled)
    products = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    error = products.std(0) / 20_000**0.5
    assert ((products.mean(0) - torch.from_numpy(covariance)).abs() <= 4.5 * error + 1e-9).all()


class Levels(ElementwiseModel):
    """p(x|z): two features of three levels with logits that are linear in z."""

    log_unit = None

    def prior(self) -> StandardNormal:
        return StandardNormal(1, torch.zeros((), dtype=torch.float64))

    def likelihood(self, z: torch.Tensor) -> Categorical:
        slopes = torch.tensor([[2.0, 0.0, -2.0], [1.5, 0.5, -2.0]], dtype=torch.float64)
        return Categorical(z.unsqueeze(-1) * slopes)


def test_categories_get_the_mode_of_the_averaged_probabilities():
    """By quadrature over z; the level that is the mode most often need not be the mode of the average."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64).view(-1, 1, 1)
    p = Levels().likelihood(z).logits.softmax(-1)[:, 0]  # (z, features, levels)
    prior = (-0.5 * z[:, 0, 0].square()).exp()
    x = torch.tensor([[0.0, 0], [1, 0], [2, 0]]).double()
    observed = torch.tensor([[True, False]]).expand(3, 2)
    for i, level in enumerate(x[:, 0].long()):
        weight = prior * p[:, 0, level]
        probabilities = (weight.unsqueeze(-1) * p[:, 1]).sum(0) / weight.sum()
        proposal = lambda batch, noise: DiagonalGaussian(batch.x.new_zeros(len(batch.x), 1), batch.x.new_zeros(1, 1))  # noqa: E731
        rows = WithGaps(x[i : i + 1], observed[i : i + 1], 0.0)
        filled = conditional.expected(Evaluation(Levels(), proposal, rows, noise_of()), 20_000).x  # type: ignore[arg-type]
        assert filled[0, 1] == probabilities.argmax()
        drawn = conditional.drawn(Evaluation(Levels(), proposal, rows, noise_of()), 4000, 20_000).x[:, 0, 1].long()  # type: ignore[arg-type]
        often = drawn.bincount(minlength=3) / 4000
        assert ((often - probabilities).abs() < 4.5 * (probabilities * (1 - probabilities) / 4000).sqrt() + 0.01).all()


@pytest.mark.parametrize("kind", [MixtureOfBernoullis, MixtureOfDiagonalGaussians])
def test_mixtures_of_independent_features_average_over_components(kind):
    model, rng = kind(2, (3,)), np.random.default_rng(0)
    model.log_weights.copy_(torch.tensor([0.3, 0.7]).log())
    parameter = model.logits if kind is MixtureOfBernoullis else model.means
    parameter.copy_(torch.from_numpy(rng.normal(0, 2, (2, 3))))
    x = torch.tensor([[1.0, 0, 1]]).double()
    observed = torch.tensor([[True, False, True]])
    r = model.responsibilities(Batch(x, observed, torch.arange(1)))[0]
    expected = (r * model.mean_given(torch.arange(2))[:, 1]).sum()
    filled = conditional.expected(Evaluation(model, NoPosterior(), WithGaps(x, observed), noise_of())).x
    torch.testing.assert_close(filled, torch.tensor([[1.0, expected, 1]]).double())
    drawn = conditional.drawn(Evaluation(model, NoPosterior(), WithGaps(x, observed), noise_of()), 20_000).x[:, 0, 1]
    assert abs(drawn.mean() - expected) < 4.5 * drawn.std() / 20_000**0.5


def test_independent_features_are_filled_with_their_own_means():
    model = IndependentNormal((2,))
    model.mean.copy_(torch.tensor([3.0, 4.0]))
    rows = WithGaps(torch.zeros(5, 2).double(), torch.tensor([[True, False]]).expand(5, 2))
    assert conditional.expected(Evaluation(model, NoPosterior(), rows, noise_of())).x.tolist() == [[0, 4]] * 5
    assert conditional.drawn(Evaluation(model, NoPosterior(), rows, noise_of()), 3).x[..., 1].std() > 0.5
    levels = IndependentCategorical((2,), 3, 0.1)
    levels.maximize(levels.statistics(whole_batch(torch.tensor([[0.0, 2], [0, 2], [1, 1]]).double())))
    assert conditional.expected(Evaluation(levels, NoPosterior(), rows, noise_of())).x.tolist() == [[0, 2]] * 5


def test_without_a_posterior_it_is_an_error():
    x, observed = toy_rows()
    with pytest.raises(TypeError, match="nor has a posterior"):
        conditional.expected(Evaluation(toy.model(), NoPosterior(), WithGaps(x, observed), noise_of()))


def test_probabilities_of_ones_are_averaged():
    assert Bernoulli(torch.zeros(1, 1, 2)).averages()[0].tolist() == [[[0.5, 0.5]]]
