"""Densities of columns of several kinds: they sum or integrate to 1, agree with SciPy, and are drawn as they say."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from lowerbound.assembly.columns import columns_head
from lowerbound.data.columns.coding import decode, encode
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.distributions.atoms import FIRST, is_atom, place_of, value_of
from lowerbound.distributions.columns import Categories, Columns, Reals, WholeNumbers
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.distributions.scaling import Scaling

DRAWS = 40_000


def tensor(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scaling(location=3.0, unit=2.0, log=False, shift=0.0) -> Scaling:
    return Scaling(tensor(location), tensor(unit), torch.tensor([log]), tensor(shift))


def noise() -> Noise:
    return Noise(make_generator(0, "columns"))


def reals(*, log=False, df=None, mass=None, pi=0.3, n=1, at=(0.5,), scale=(0.8,), weight=(1.0,)) -> Reals:
    shape = torch.ones(1, n, 1, 1, dtype=torch.float64)
    location, sd, w = (tensor(*values).expand(1, n, 1, -1) for values in (at, scale, weight))
    logit = shape * (-math.inf if mass is None else math.log(pi / (1 - pi)))
    units = scaling(0.4, 0.7, log=True) if log else scaling()
    nu = None if df is None else tensor(df)
    return Reals(location, sd, w.log(), nu, logit, tensor(0.0 if mass is None else mass)[:, None], units)


TWO = {"at": (-1.0, 2.0), "scale": (0.5, 0.8), "weight": (0.3, 0.7)}


def density(p: Reals, v: float) -> float:
    return p.log_prob(p.scaling.standardize(tensor(v))[None]).exp().item()


@pytest.mark.parametrize("df", [None, 3.5])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("mass", [None, 0.0])
@pytest.mark.parametrize("components", [{}, TWO])
def test_a_density_of_reals_integrates_to_one_beside_its_point_mass(df, log, mass, components):
    p = reals(log=log, df=df, mass=mass, **components)
    parts = [(0, 1), (1, 50), (50, np.inf)] if log else [(-np.inf, 0), (0, 8), (8, np.inf)]
    total = sum(integrate.quad(lambda v: density(p, v), *part, limit=200)[0] for part in parts)
    at_mass = p.log_prob(tensor(FIRST)[None]).exp().item()
    assert at_mass == pytest.approx(0.3 if mass is not None else 0.0)
    assert total + at_mass == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("v", [0.2, 1.0, 7.5])
def test_reals_agree_with_scipy_in_the_users_units(v):
    # x = (v − 3)/2 ~ N(.5, .8²) means v ~ N(4, 1.6²); (log v − .4)/.7 ~ N(.5, .8²) means log v ~ N(.75, .56²)
    assert density(reals(), v) == pytest.approx(stats.norm(4, 1.6).pdf(v), rel=1e-9)
    assert density(reals(df=5.0), v) == pytest.approx(stats.t(5.0, 4, 1.6).pdf(v), rel=1e-9)
    assert density(reals(log=True), v) == pytest.approx(stats.lognorm(0.56, scale=math.exp(0.75)).pdf(v), rel=1e-9)
    assert density(reals(mass=0.0), v) == pytest.approx(0.7 * stats.norm(4, 1.6).pdf(v), rel=1e-9)


@pytest.mark.parametrize(("df", "law"), [(None, stats.norm), (5.0, lambda *where: stats.t(5.0, *where))])
def test_mixtures_of_reals_agree_with_scipy_and_are_drawn_so(df, law):
    # x = (v − 3)/2: v ~ .3 p((v − 1)/1) + .7 p((v − 7)/1.6)
    first, second = law(1.0, 1.0), law(7.0, 1.6)
    for v in (-3.0, 1.2, 4.0, 9.5):
        assert density(reals(df=df, **TWO), v) == pytest.approx(0.3 * first.pdf(v) + 0.7 * second.pdf(v), rel=1e-9)
    p = reals(df=df, n=DRAWS, **TWO)
    drawn = p.scaling.restore(p.sample(noise())).flatten().numpy()
    assert stats.kstest(drawn, lambda v: 0.3 * first.cdf(v) + 0.7 * second.cdf(v)).pvalue > 0.01
    assert p.scaling.restore(p.mean)[0, 0].item() == pytest.approx(0.3 * 1 + 0.7 * 7)


def test_a_value_that_is_no_point_mass_of_the_column_is_impossible():
    assert reals().log_prob(tensor(FIRST)[None]).item() == -math.inf


@pytest.mark.parametrize(("df", "law"), [(None, stats.norm(0.5, 0.8)), (3.0, stats.t(3.0, 0.5, 0.8))])
def test_draws_of_reals_have_their_distribution(df, law):
    x = reals(df=df, n=DRAWS).sample(noise()).flatten().numpy()
    assert stats.kstest(x, law.cdf).pvalue > 0.01


def test_the_point_mass_is_drawn_as_often_as_it_says():
    x = reals(mass=2.0, n=DRAWS).sample(noise()).flatten()
    assert (x == FIRST).double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / DRAWS))


def with_atoms(n=1, **how) -> Reals:
    """Two columns: atoms at 1, 2 and 7 of probabilities .2, .1 and .3; at 5 of .25; both others v ~ N(4, 1.6²)."""
    logits = tensor(0.2, 0.1, 0.3).log() - math.log(0.4), tensor(0.25, 0.0, 0.0).log() - math.log(0.75)
    both = torch.stack(logits).expand(1, n, 2, 3)
    values = torch.tensor([[1.0, 2.0, 7.0], [5.0, 0.0, 0.0]], dtype=torch.float64)
    return replace(reals(n=n, **how), atom_logits=both, atoms=values)


def test_several_atoms_have_their_probabilities_and_the_rest_a_density():
    p, codes = with_atoms(), FIRST - tensor(0, 1, 2, 3)
    found = torch.stack([p.log_prob(code.expand(1, 2)).exp()[0, 0] for code in codes])
    torch.testing.assert_close(found, torch.stack([tensor(0.2, 0.25), tensor(0.1, 0), tensor(0.3, 0), tensor(0, 0)]))
    beside = p.log_prob(p.scaling.standardize(tensor(7.0, 7.0))[None]).exp()[0, 0]
    torch.testing.assert_close(beside, tensor(0.4, 0.75) * stats.norm(4, 1.6).pdf(7.0))
    mean = p.scaling.restore(p.mean)[0, 0]
    torch.testing.assert_close(mean, tensor(0.2 * 1 + 0.1 * 2 + 0.3 * 7 + 0.4 * 4, 0.25 * 5 + 0.75 * 4))


def test_atoms_are_drawn_as_often_as_they_say():
    p = with_atoms(DRAWS)
    x = p.sample(noise())[0]
    for place, share in ((0, 0.2), (1, 0.1), (2, 0.3)):
        met = (is_atom(x[:, 0]) & (place_of(x[:, 0]) == place)).double().mean().item()
        assert met == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / DRAWS))
    assert set(value_of(x, p.atoms)[is_atom(x)].tolist()) == {1.0, 2.0, 7.0, 5.0}
    rest = p.scaling.restore(x[~is_atom(x[:, 0]), 0]).numpy()
    assert stats.kstest(rest, stats.norm(4, 1.6).cdf).pvalue > 0.01


def test_the_mean_of_reals_holds_the_point_mass():
    p = reals(mass=10.0)
    assert p.scaling.restore(p.mean).item() == pytest.approx(0.3 * 10 + 0.7 * 4)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
def test_probabilities_of_whole_numbers_sum_to_one(log, scale):
    v = torch.arange(0 if log else -3000, 300_000 if log else 3000, dtype=torch.float64)
    units = scaling(2.0, 1.5, log=log, shift=1.0 if log else 0.0)
    at = torch.full((1, len(v), 1), 0.3, dtype=torch.float64)
    p = WholeNumbers(at, scale * at / 0.3, units, tensor(0.0 if log else -math.inf))
    above = torch.sigmoid((0.3 - units.standardize(v[-1:, None] + 0.5)) / scale).item()  # what lies beyond the last
    assert p.log_prob(units.standardize(v[:, None])).exp().sum().item() + above == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("log", [False, True])
def test_large_whole_numbers_have_their_probability_in_float32_too(log):
    v = torch.arange(99_990, 100_010, dtype=torch.float64)[:, None]
    units = scaling(9.0 if log else 1e5, 3.0 if log else 2e4, log=log, shift=1.0 if log else 0.0)
    exact = WholeNumbers(torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double(), units, tensor(-math.inf))
    narrow = Scaling(units.location.float(), units.unit.float(), units.log, units.shift.float())
    rounded = WholeNumbers(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), narrow, tensor(-math.inf).float())
    x = units.standardize(v)
    torch.testing.assert_close(rounded.log_prob(x.float()).double(), exact.log_prob(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("log", [False, True])
def test_counts_near_a_million_keep_their_probability_in_a_float32_model(log):
    scale = {"location": 13.8, "unit": 0.02, "shift": 1.0} if log else {"location": 1e6, "unit": 1e4}
    column = ColumnSchema("n", "count", "int64", log=log, low=950_000, high=1_050_000, decimals=0, **scale)
    v = np.arange(999_900, 1_000_100)
    x = torch.from_numpy(encode(pd.DataFrame({"n": v}), [column])).float()
    single, double = (columns_head([column], "decoder", 0.01) for _ in range(2))
    raw = torch.stack([x[:, 0], torch.full((len(v),), -20.0), torch.zeros(len(v))], -1)[None, :, None]  # narrow
    narrow, exact = single(raw).log_prob(x), double.double()(raw.double()).log_prob(x.double())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), exact, rtol=0, atol=1e-5)
    assert np.array_equal(decode(x.double().numpy(), [column], expected=False)["n"], v)


def test_whole_numbers_agree_with_scipy_and_are_drawn_so():
    at = torch.full((1, DRAWS, 1), 0.3, dtype=torch.float64)
    p = WholeNumbers(at, 2 * at, scaling(), tensor(-math.inf))
    law = stats.logistic(3 + 0.3 * 2, 0.6 * 2)  # of v before it is rounded
    v = torch.arange(-5.0, 15, dtype=torch.float64)
    probability = p.log_prob(p.scaling.standardize(v[:, None])[:, None]).exp()[:, 0, 0].numpy()
    np.testing.assert_allclose(probability, law.cdf(v + 0.5) - law.cdf(v - 0.5), rtol=1e-9)
    drawn = p.scaling.restore(p.sample(noise())).flatten().round().numpy()
    error = np.sqrt(probability * (1 - probability) / DRAWS)
    assert (np.abs([(drawn == k).mean() for k in v.numpy()] - probability) < 4.5 * error).all()


def within(units: Scaling, low: float, high: float) -> Scaling:
    return replace(units, low=tensor(low), high=tensor(high))


def test_the_mean_under_a_logarithm_is_that_of_the_numbers_and_not_their_median():
    # (log v − .4)/.7 ~ N(.5, .8²) means log v ~ N(.75, .56²)
    assert reals(log=True).expectation.item() == pytest.approx(math.exp(0.75 + 0.56**2 / 2), rel=1e-12)
    assert reals(log=True, mass=0.0).expectation.item() == pytest.approx(0.7 * math.exp(0.75 + 0.56**2 / 2), rel=1e-12)
    first, second = math.exp(0.4 - 0.7 + 0.35**2 / 2), math.exp(0.4 + 1.4 + 0.56**2 / 2)
    two = reals(log=True, **TWO)
    assert two.expectation.item() == pytest.approx(0.3 * first + 0.7 * second, rel=1e-12)
    torch.testing.assert_close(two.scaling.restore(two.mean), two.expectation)
    torch.testing.assert_close(two.averages()[0], two.expectation)
    drawn = two.scaling.restore(reals(log=True, n=DRAWS, **TWO).sample(noise()))
    assert drawn.mean().item() == pytest.approx(two.expectation.item(), abs=4 * drawn.std().item() / DRAWS**0.5)


@pytest.mark.parametrize("df", [None, 2.2, 5.0, 60.0])
@pytest.mark.parametrize("scale", [0.1, 0.8, 3.0])
@pytest.mark.parametrize(("low", "high"), [(0.0, 9.0), (1.5, 400.0)])
def test_the_mean_under_a_logarithm_is_that_of_numbers_confined_to_their_range(df, scale, low, high):
    p = reals(log=True, df=df, scale=(scale,))
    p = replace(p, scaling=within(p.scaling, low, high))
    law = stats.norm(0.75, 0.7 * scale) if df is None else stats.t(df, 0.75, 0.7 * scale)
    exact = low + integrate.quad(lambda v: law.sf(math.log(v)) if v > 0 else 1.0, low, high, limit=500)[0]
    assert p.expectation.item() == pytest.approx(exact, rel=1e-6 if df is None else 3e-3)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("at", [-1.5, -0.3, 0.3, 2.0])
@pytest.mark.parametrize("scale", [0.003, 0.01, 0.05, 0.3, 1.0, 3.0])
@pytest.mark.parametrize(("low", "high"), [(0, 30), (3, 100_000)])
def test_the_mean_of_whole_numbers_is_the_sum_over_them(log, at, scale, low, high):
    units = within(scaling(2.0, 1.5, log=log, shift=1.0 if log else 0.0), low, high)
    v = torch.arange(low, high + 1, dtype=torch.float64)
    there = tensor(at).expand(1, len(v), 1)
    p = WholeNumbers(there, scale * torch.ones_like(there), units, tensor(0.0 if log else -math.inf))
    probability = p.log_prob(units.standardize(v[:, None])).exp()[0, :, 0]
    is_lowest = log and low == 0  # its bin goes down to −∞
    below = 0.0 if is_lowest else torch.sigmoid((units.standardize(tensor(low - 0.5)) - at) / scale).item()
    above = max(0.0, 1 - below - probability.sum().item())
    exact = (probability * v).sum().item() + below * low + above * high
    spread = math.sqrt((probability * (v - exact).square()).sum().item() + above * (high - exact) ** 2)
    assert p.expectation[0, 0].item() == pytest.approx(exact, abs=0.01 * spread + 1e-4 * max(1, exact))


def levels(n: int = 1, *, values=(math.nan, math.nan, math.nan)) -> Categories:
    """Two common levels and three rare ones, of which the third logit is."""
    logits = tensor(0.1, -0.5, 0.7).expand(1, n, 1, 3)
    return Categories(logits, torch.tensor([2]), torch.tensor([3]), torch.tensor([values], dtype=torch.float64))


def test_the_rare_levels_share_their_probability():
    x = torch.arange(5.0, dtype=torch.float64)[:, None]
    probability = levels(5).log_prob(x).exp().flatten().numpy()
    p = np.exp([0.1, -0.5, 0.7])
    p /= p.sum()
    np.testing.assert_allclose(probability, [p[0], p[1], p[2] / 3, p[2] / 3, p[2] / 3], rtol=1e-12)
    drawn = np.bincount(levels(DRAWS).sample(noise()).flatten().long().numpy(), minlength=5) / DRAWS
    assert (np.abs(drawn - probability) < 4.5 * np.sqrt(probability * (1 - probability) / DRAWS)).all()


def test_the_mean_of_levels_is_the_mode_and_that_of_numbers_lies_between_them():
    assert levels().mean.item() == 0  # as probable as 1.1, each of the three rare ones as .67
    numbers = Categories(
        tensor(0.0, math.log(3), -math.inf).expand(1, 2, 1, 3), torch.tensor([2]), torch.tensor([0]),
        tensor([10.0, 20.0, math.nan]),
    )  # fmt: skip
    np.testing.assert_allclose(numbers.mean.flatten(), [0.75, 0.75])  # 17.5 is three quarters of the way


def test_columns_are_put_back_in_their_places():
    first, second = reals(n=4), levels(4)
    x = torch.tensor([[0.0, 0.3], [1.0, -1.0], [4.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    one = Columns([(torch.tensor([1]), first), (torch.tensor([0]), second)], torch.zeros(2))
    other = Columns([(torch.tensor([1]), second), (torch.tensor([0]), first)], torch.zeros(2))
    expected = torch.cat([second.log_prob(x[:, :1]), first.log_prob(x[:, 1:])], -1)
    torch.testing.assert_close(one.log_prob(x), expected)
    torch.testing.assert_close(other.log_prob(x.flip(1)), expected.flip(-1))
    assert one.mean[..., 0].unique().tolist() == [0.0]
    assert one.sample(noise()).shape == (1, 4, 2)


@pytest.mark.parametrize("df", [None, 3.5])
@pytest.mark.parametrize("log", [False, True])
def test_the_cumulative_distribution_of_reals_is_the_integral_of_their_density(df, log):
    p = reals(log=log, df=df, mass=2.0, **TWO)
    for low, high in ((0.7, 1.5), (1.5, 2.5), (2.5, 9.0)):
        mass = (p.cumulative(tensor(high)[None]) - p.cumulative(tensor(low)[None])).item()
        inside = integrate.quad(lambda v: density(p, v), low, high, limit=200)[0]
        assert mass == pytest.approx(inside + 0.3 * (low < 2 <= high), abs=1e-7)


@pytest.mark.parametrize("log", [False, True])
def test_the_cumulative_distribution_of_whole_numbers_is_the_sum_of_their_probabilities(log):
    units = scaling(1.0, 0.5, log=True, shift=1.0) if log else scaling()
    p = WholeNumbers(tensor(0.4)[None, None], tensor(0.5)[None, None], units, tensor(0.0 if log else -math.inf))
    v = torch.arange(0, 40, dtype=torch.float64)
    masses = [p.log_prob(p.scaling.standardize(k)[None]).exp().item() for k in v]
    below = [p.cumulative(k[None, None]).item() for k in v]
    np.testing.assert_allclose(np.diff(below), masses[1:], rtol=1e-9, atol=1e-14)
    assert not log or below[0] == pytest.approx(masses[0])
    assert p.cumulative(tensor(-1.0)[None]).item() == (0.0 if log else pytest.approx(below[0] - masses[0]))


def test_the_cumulative_distribution_of_categories_divides_the_rare_ones_evenly():
    logits = tensor(1.0, 0.5, -1.0)[None, None, None]
    p = Categories(logits, torch.tensor([2]), torch.tensor([4]), torch.full((1, 3), math.nan))
    masses = [p.log_prob(tensor(float(k))).exp().item() for k in range(6)]
    below = [p.cumulative(tensor(float(k))).item() for k in range(-1, 6)]
    np.testing.assert_allclose(np.diff(below), masses)
    assert below[-1] == pytest.approx(1)


def test_the_cumulative_distribution_of_rare_categories_alone():
    p = Categories(
        torch.zeros(1, 1, 1, 1).double(), torch.tensor([0]), torch.tensor([10]), torch.full((1, 1), math.nan)
    )
    below = torch.stack([p.cumulative(tensor(float(k))[None]).squeeze() for k in range(10)])
    torch.testing.assert_close(below, torch.arange(1, 11).double() / 10)
