"""Values that no row of the fit had have a probability of their own: they are evidence, not gaps."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lowerbound import VAE, Factorized, UnseenCategoryWarning, VAEOutlierDetector
from lowerbound.data.columns.coding import encode
from lowerbound.data.columns.inference import infer_columns
from lowerbound.data.columns.tails import never_seen
from lowerbound.distributions.unseen import is_unseen

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::lowerbound.{warning}")
    for warning in ("UnseenCategoryWarning", "data.far.FarFromFittedWarning")
]
rng = np.random.default_rng(0)
N = 400
AREA = rng.normal(80, 25, N).round(1)
HOUSES = pd.DataFrame({
    "rooms": np.clip(AREA / 20 + rng.normal(0, 0.7, N), 1, 7).round().astype(int),
    "area": AREA,
    "town": [*rng.choice(["Rome", "Oslo", "Bern"], N - 2), "Ulm", "Bari"],
})  # fmt: skip


def probabilities(values, new) -> np.ndarray:
    """p of each new value of a single column beside one that is constant."""
    frame = pd.DataFrame({"v": values, "same": "a"})
    factorized = Factorized(columns="auto").fit(frame)
    of_same = math.log1p(-factorized.columns_[1].unseen)
    return np.exp(factorized.score_samples(pd.DataFrame({"v": new, "same": "a"})) - of_same)


@pytest.mark.parametrize("step", [1, 0.5])
def test_probabilities_of_all_numbers_sum_to_one(step):
    levels = step * rng.choice([1, 2, 3, 5, 6], 300)
    everywhere = np.arange(-200_000, 200_000) * (1 if step == 1 else 0.1)
    beyond = 2 * 2.5 * step / (math.pi * everywhere[-1]) / 300  # both tails of the Cauchy law, with reach 2.5 steps
    assert probabilities(levels, everywhere).sum() == pytest.approx(1, abs=2 * beyond)


def test_probabilities_of_all_counts_sum_to_one():
    counts = rng.lognormal(2, 1, 300).round()
    everywhere = np.arange(-100_000.0, 100_000)
    assert infer_columns(pd.DataFrame({"v": counts}))[0].log
    assert probabilities(counts, everywhere).sum() == pytest.approx(1, abs=1e-4)
    assert probabilities(counts, everywhere)[:100_000].sum() == pytest.approx(0.5 / 301, rel=1e-3)


def test_densities_of_amounts_sum_to_one():
    amounts = rng.lognormal(2, 1, 300)
    below = -np.logspace(-8, 8, 40_001)
    density = probabilities(amounts, below)
    assert np.trapezoid(density * -below, np.log(-below)) == pytest.approx(0.5 / 301, rel=1e-4)


def test_a_new_word_has_the_probability_of_good_and_turing():
    towns = HOUSES["town"][:-2]
    p = probabilities(towns, ["Paris", "Rome"])
    assert p[0] == pytest.approx(0.5 / (N - 1)) == never_seen(0, N - 2)
    assert p[1] == pytest.approx((1 - p[0]) * (towns.value_counts()["Rome"] + 0.5) / (N - 0.5))


def test_the_estimate_is_that_of_leaving_one_out():
    towns = HOUSES["town"].tolist()
    new = [town not in towns[:i] + towns[i + 1 :] for i, town in enumerate(towns)]
    assert never_seen(sum(new), N) == pytest.approx(np.mean(new), abs=1 / N)


def test_farther_levels_are_less_probable():
    p = probabilities(HOUSES["rooms"], [4, 7, 8, 20, 999, 10**9])
    assert (np.diff(p) < 0).all()
    assert p[-1] > 0


@pytest.mark.parametrize(("column", "value"), [("rooms", 999), ("town", "Paris")])
def test_it_lowers_log_p_under_every_model(column, value):
    odd = HOUSES.assign(**{column: value})
    for model in (Factorized(columns="auto"), VAE(2, max_epochs=3, random_state=0)):
        usual = model.fit(HOUSES).score_samples(HOUSES)
        assert (model.score_samples(odd) < usual).mean() > 0.98


def test_a_detector_finds_it_and_names_it():
    detector = VAEOutlierDetector(n_steps=100, n_estimators=2, random_state=0).fit(HOUSES)
    odd = HOUSES.assign(rooms=999)
    assert detector.score_samples(odd).max() < np.quantile(detector.score_samples(HOUSES), 0.1)
    explained = detector.explain(odd.head(5), 1)
    assert (explained["feature"] == "rooms").all()


def test_it_says_nothing_of_the_code():
    vae = VAE(2, max_epochs=3, random_state=0).fit(HOUSES)
    odd, gap = HOUSES.head(9).assign(rooms=999), HOUSES.head(9).assign(rooms=np.nan)
    np.testing.assert_array_equal(vae.transform(odd), vae.transform(gap))
    difference = vae.score_samples(odd) - vae.score_samples(gap)
    np.testing.assert_allclose(difference, difference[0], atol=1e-4)
    assert difference[0] < -10


@pytest.mark.parametrize(("values", "new"), [(rng.lognormal(0, 1, 200), -1.0), (rng.poisson(50, 200) ** 2, -1)])
def test_what_has_no_logarithm_is_no_gap(values, new):
    p = probabilities(values, [new, np.median(values), np.nan])
    assert 0 < p[0] < 0.1 * p[1]
    assert p[2] == pytest.approx(1)


def test_categories_that_the_user_leaves_out_are_as_if_never_seen():
    column = infer_columns(HOUSES, {"town": {"categories": ["Rome", "Oslo"]}})[2]
    others = (~HOUSES["town"].isin(["Rome", "Oslo"])).sum()
    assert column.unseen == never_seen(int(others), N)


def test_models_saved_before_count_it_as_not_observed():
    columns = [replace(column, unseen=0.0) for column in infer_columns(HOUSES)]
    with pytest.warns(UnseenCategoryWarning, match="in rooms, town$"):
        coded = encode(HOUSES.assign(rooms=999, town="Paris"), columns)
    assert np.isnan(coded[:, [0, 2]]).all()
    assert not is_unseen(coded[:, 1]).any()


def test_a_new_name_is_as_usual_as_names_are():
    names = [f"n{i}" for i in range(200)]
    p = probabilities(names, ["n7", "new"])
    assert p[1] == pytest.approx(p[0])
    towns = probabilities(HOUSES["town"], ["Paris", "Ulm"])
    assert towns[0] <= towns[1] * (1 + 1e-6)


@pytest.mark.parametrize("values", [
    rng.choice([1, 2, 3, 4, 5], 300), rng.choice([1, 2, 3, 4, 5], 300).astype(np.float32),
    pd.Categorical(rng.choice([1, 2, 3, 4, 5], 300), ordered=True),
])  # fmt: skip
def test_the_law_does_not_depend_on_how_levels_are_stored(values):
    assert np.log(probabilities(values, [6])[0]) == pytest.approx(-8.6, abs=0.1)


def test_absurd_numbers_are_improbable_and_not_impossible():
    assert np.isfinite(np.log(probabilities(HOUSES["rooms"], [1e160, -1e300]))).all()
    tiny = 1e-60 * rng.lognormal(0, 1, 300)
    assert np.isfinite(
        Factorized(columns="auto")
        .fit(pd.DataFrame({"v": tiny, "c": "a"}))
        .score_samples(pd.DataFrame({"v": [-1e-60, -1.0], "c": "a"}))
    ).all()


def test_the_mixture_of_a_detector_leaves_them_out():
    amounts = HOUSES.assign(pay=rng.lognormal(0, 1, N))
    detector = VAEOutlierDetector(n_steps=20, n_estimators=1, random_state=0).fit(amounts)
    odd = detector.score_samples(amounts.head(20).assign(pay=-1.0))
    assert np.abs(odd).max() < 1e4
    assert odd.mean() < detector.score_samples(amounts.head(20)).mean()
