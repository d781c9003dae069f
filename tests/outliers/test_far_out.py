"""One absurd value in a row: an age of 999."""

import numpy as np
import pandas as pd
import pytest
import torch

from lowerbound import MLP, VAE, Amortized, GaussianLikelihood, Ladder, VAEImputer, VAEOutlierDetector
from lowerbound.nn.inputs import drawn_in

LEVELS = [{"latent_dim": 2, "network": MLP((32,))}, {"latent_dim": Ladder(2, 2, width=32)}]
AGES = (150.0, 999.0, 99_999.0)  # 8, 70 and 8,000 standard deviations
rng = np.random.default_rng(0)
age = rng.normal(50, 12, 400)
NUMBERS = pd.DataFrame(
    {
        "age": age,
        "pressure": 90 + 0.8 * age + rng.normal(0, 8, 400),
        "pulse": 190 - 0.9 * age + rng.normal(0, 10, 400),
        "weight": rng.normal(75, 12, 400),
    }
)
MIXED = NUMBERS.round({"age": 0}).assign(
    smoker=rng.choice(["yes", "no"], 400), group=np.where(age > 50, "old", "young"), children=rng.poisson(2, 400)
)
TABLES = {"numbers": NUMBERS, "mixed": MIXED}
OTHERS = ["pressure", "pulse", "weight"]


def aged(table, age):
    return table.iloc[:12].assign(age=age)


@pytest.fixture(scope="module", params=TABLES)
def fitted(request):
    table = TABLES[request.param]
    return table, VAEOutlierDetector(novelty=True, n_estimators=2, n_steps=200, random_state=0).fit(table)


def test_the_age_is_blamed_and_nothing_else_seems_odd(fitted):
    table, detector = fitted
    usual = detector.explain(table.iloc[:12], table.shape[1])
    expected = usual.set_index(["row", "feature"])["expected"]
    for age in AGES:
        reasons = detector.explain(aged(table, age), table.shape[1])
        assert (reasons.groupby("row")["feature"].first() == "age").all()
        assert reasons.loc[reasons["feature"] != "age", "surprise"].max() < usual["surprise"].max() + 2
        now = reasons.set_index(["row", "feature"])["expected"]
        for name in ["age", *OTHERS]:
            shift = (now.xs(name, level=1) - expected.xs(name, level=1)).astype(float).abs()
            assert shift.mean() < (0 if name == "age" else 0.4) * table[name].std() + 1e-6, (name, age)


def test_every_score_is_finite_and_puts_it_first(fitted):
    table, detector = fitted
    usual = detector.scores(table)
    for age in AGES:
        odd = detector.scores(aged(table, age))
        assert np.isfinite(odd).all(axis=None)
        for name in ("combined", "reconstruction", "surprise", "elbo", "log_p"):
            assert odd[name].min() > usual[name].max(), (name, age)
        assert (odd[["kl", "aggregate_kl"]].min() > usual[["kl", "aggregate_kl"]].median()).all()
        assert odd["kl"].max() < 100  # not the square of the age


def test_it_does_so_where_it_was_fitted():
    table = NUMBERS.copy()
    table.loc[7, "age"] = 999.0
    detector = VAEOutlierDetector(n_estimators=1, n_steps=200, random_state=0).fit(table)
    assert detector.score_samples(table).argmin() == 7
    assert detector.explain(table.iloc[[7]])["feature"].iloc[0] == "age"


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("name", TABLES)
def test_codes_stay_where_codes_are_and_the_density_is_that_of_the_value(name, levels):
    table = TABLES[name]
    vae = VAE(**levels, max_epochs=15, random_state=0).fit(table)
    codes = np.abs(vae.transform(table)).max()
    log_p = []
    for age in AGES:
        assert np.abs(vae.transform(aged(table, age))).max() < 5 * codes
        log_p.append(vae.score_samples(aged(table, age)).mean())
    assert np.isfinite(log_p).all()
    assert log_p[0] > log_p[1] > log_p[2]  # each value has its own: it isn't that of one that was drawn in


@pytest.mark.parametrize("levels", LEVELS)
def test_gaps_beside_it_are_filled_with_what_people_have(levels):
    vae = VAE(**levels, posterior=Amortized(input_dropout=0.5), max_epochs=20, random_state=0).fit(NUMBERS)
    imputer, gaps = VAEImputer(vae, random_state=0).fit(NUMBERS), NUMBERS.iloc[:12].assign(pressure=np.nan)
    usual = imputer.transform(gaps)[:, 1]
    for age in AGES:
        filled = imputer.transform(gaps.assign(age=age))[:, 1]
        assert np.abs(filled - usual).max() < 6 * NUMBERS["pressure"].std()


def test_data_as_they_are_reach_the_network_as_they_are():
    x = torch.tensor([[999.0, 120.0, 80.0, 70.0]])
    for standardize in (True, False):
        vae = VAE(
            1, network=MLP((8,)), likelihood=GaussianLikelihood(standardize=standardize), max_epochs=1, random_state=0
        ).fit(NUMBERS)
        assert vae.posterior_.encoder.inputs(x).equal(drawn_in(x) if standardize else x)
