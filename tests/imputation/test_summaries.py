"""Summaries of draws against the laws that they are drawn from."""

import numpy as np
import pytest
from scipy import stats

from lowerbound.imputation import summaries

M, N = 400, 3000
LAWS = {
    "normal": stats.norm(3, 2),
    "exponential": stats.expon(),
    "poisson 1": stats.poisson(1.2),
    "poisson 40": stats.poisson(40),
    "few": stats.rv_discrete(values=([1, 2, 3, 7], [0.4, 0.1, 0.2, 0.3])),
    "coin": stats.bernoulli(0.3),
}


def drawn(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws (M, N) of a law, and one more for each place."""
    rng = np.random.default_rng(0)
    if name == "zeros":
        draws = np.where(rng.random((M + 1, N)) < 0.6, 0.0, rng.lognormal(0, 1, (M + 1, N)))
    else:
        draws = LAWS[name].rvs(size=(M + 1, N), random_state=rng).astype(float)
    return draws[1:], draws[0]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("name", [*LAWS, "zeros"])
def test_intervals_cover_what_they_claim_whatever_the_law(name, level):
    draws, truth = drawn(name)
    found = summaries.intervals(draws, level)
    error = (level * (1 - level) / N) ** 0.5
    assert found.covered(truth).mean() == pytest.approx(level, abs=4 * error + 0.003)
    closed = ((found.low <= truth) & (truth <= found.high)).mean()
    assert closed > level - 4 * error


def test_the_interval_of_a_discrete_law_is_its_smallest_set_of_neighbors():
    draws = drawn("few")[0]
    found = summaries.intervals(draws, 0.6)
    assert (np.stack([found.low, found.high]).T == [1, 3]).mean() > 0.95  # .7 of the mass, and no shorter has .6
    zeros = summaries.intervals(drawn("zeros")[0], 0.5)
    assert (zeros.low == 0).all()
    assert (zeros.high == 0).all()


def test_medians_and_modes_are_those_of_the_law():
    assert (summaries.median(drawn("few")[0]) == 2).mean() > 0.4
    for name, center in (("poisson 1", 1), ("coin", 0), ("zeros", 0), ("few", 1)):
        assert (summaries.mode(drawn(name)[0]) == center).mean() > 0.9
    for name, median, mode in (("normal", 3, 3), ("exponential", np.log(2), 0)):
        draws = drawn(name)[0]
        assert summaries.median(draws).mean() == pytest.approx(median, abs=0.02)
        assert summaries.mode(draws).mean() == pytest.approx(mode, abs=0.17)  # the fifth is (0, .22)


def test_of_a_column_of_categories_nothing_is_said():
    nothing = np.full((M, 2), np.nan)
    assert np.isnan(summaries.median(nothing)).all()
    assert np.isnan(summaries.mode(nothing)).all()
    assert np.isnan(summaries.intervals(nothing, 0.9).low).all()
