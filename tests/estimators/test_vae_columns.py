"""The VAE on tables whose columns are of several kinds."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lowerbound import MLP, VAE, Adam, Amortized, ColumnLikelihoods, GaussianLikelihood, Ladder, load
from lowerbound.data.columns.coding import UnseenCategoryWarning, encode

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # brief fits

rng = np.random.default_rng(0)
N = 300
OLD = rng.random(N) < 0.5
TABLE = pd.DataFrame(
    {
        "age": np.where(OLD, rng.normal(70, 5, N), rng.normal(25, 5, N)),
        "gain": np.where(rng.random(N) < 0.7, 0.0, np.exp(rng.normal(5, 1, N))),
        "visits": rng.negative_binomial(np.where(OLD, 20, 2), 0.1),
        "job": np.where(OLD, "retired", rng.choice(["clerk", "cook"], N)),
        "active": ~OLD,
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
    }
)
PLACES = {name: i for i, name in enumerate(TABLE)}


def small(**parameters) -> VAE:
    return VAE(**{"latent_dim": 2, "network": MLP((16,)), "max_epochs": 20, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def vae() -> VAE:
    return small(optimizer=Adam(5e-3), max_epochs=100).fit(TABLE)


def test_draws_are_like_the_table(vae):
    drawn = vae.sample(500)
    assert drawn.dtypes.equals(TABLE.dtypes)
    assert list(drawn) == list(TABLE)
    assert set(drawn["job"]) <= set(TABLE["job"])
    assert drawn["age"].between(TABLE["age"].min(), TABLE["age"].max()).all()
    assert (drawn["gain"] == 0).mean() == pytest.approx(0.7, abs=0.15)
    assert (drawn["job"] == "retired").mean() == pytest.approx(0.5, abs=0.2)
    old = drawn["age"] > 50
    assert (drawn["job"] == "retired")[old].mean() > 0.7 > 0.3 > (drawn["job"] == "retired")[~old].mean()


def test_reconstructions_have_means_of_numbers_and_modes_of_levels(vae):
    back = vae.reconstruct(TABLE)
    assert list(back) == list(TABLE)
    assert ((back["age"] > 50) == OLD).mean() > 0.9
    assert set(back["job"]) <= set(TABLE["job"])
    assert back["active"].dtype == bool


def test_the_mean_of_a_code_is_that_of_its_draws(vae):
    codes = np.array([[0.0, 0.0], [1.5, -1.0], [-1.0, 1.5]])
    means, numbers = vae.decode(codes), ["age", "gain", "visits"]
    drawn = vae.decode(np.repeat(codes, 20_000, 0), draw=True, random_state=1)[numbers].astype(float)
    for i, mean in enumerate(means[numbers].to_numpy(float)):
        of_code = drawn.iloc[20_000 * i : 20_000 * (i + 1)]
        assert ((of_code.mean() - mean).abs() < 4 * of_code.std() / 20_000**0.5 + 0.003 * np.abs(mean)).all()


def test_log_p_is_in_the_users_units(vae):
    """Every real column in thousandths: the same density, each row log 1000 lower for every column of numbers."""
    other = TABLE.assign(age=1000 * TABLE["age"])
    shifted = small(optimizer=Adam(5e-3), max_epochs=100).fit(other).score_samples(other)
    np.testing.assert_allclose(shifted, vae.score_samples(TABLE) - np.log(1000), atol=2e-3)


def test_log_p_of_gaps_sums_over_what_could_be_there(vae):
    row = TABLE.head(1)
    each = pd.concat([row.assign(job=job) for job in ("clerk", "cook", "retired")])
    some = vae.score_samples(each, n_importance=4000)
    unknown = vae.score_samples(row.assign(job=np.nan), n_importance=4000)
    assert np.logaddexp.reduce(some) == pytest.approx(unknown[0], abs=0.1)


def test_nothing_known_is_the_prior(vae):
    nothing = TABLE.head(2).astype(object).mask(np.ones((2, len(TABLE.columns)), bool))
    np.testing.assert_array_equal(vae.transform(nothing), 0)
    np.testing.assert_allclose(vae.score_samples(nothing), 0, atol=1e-12)


def test_rows_are_scored_alone_as_among_others(vae):
    scores = vae.score_samples(TABLE)
    np.testing.assert_allclose(vae.score_samples(TABLE[::-1])[::-1], scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(vae.score_samples(TABLE[7:8]), scores[7:8], rtol=0, atol=1e-9)


def test_unseen_levels_have_a_probability_of_their_own(vae):
    new = TABLE.head(3).assign(job=["pilot", "clerk", "cook"])
    with pytest.warns(UnseenCategoryWarning, match="in job$"):
        scores = vae.score_samples(new)
    gap = vae.score_samples(new.assign(job=[np.nan, "clerk", "cook"]))
    job = vae.columns_[list(TABLE).index("job")]
    np.testing.assert_allclose(scores - gap, [np.log(job.unseen), 0, 0], atol=1e-4)


def test_it_is_saved_and_loaded(vae, tmp_path):
    vae.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.columns_ == vae.columns_
    np.testing.assert_array_equal(loaded.score_samples(TABLE), vae.score_samples(TABLE))
    pd.testing.assert_frame_equal(loaded.sample(20), vae.sample(20))
    record = json.loads((tmp_path / "model.json").read_text())
    assert [column["name"] for column in record["schema"]["columns"]] == list(TABLE)


def test_tables_with_gaps_in_every_column():
    gappy = TABLE.astype({"active": object}).mask(rng.random(TABLE.shape) < 0.3)
    vae = small(max_epochs=3).fit(gappy)
    assert np.isfinite(vae.score_samples(gappy)).all()
    assert vae.sample(3)["since"].dtype == TABLE["since"].dtype


@pytest.mark.parametrize(
    "parameters",
    [
        {"latent_dim": Ladder(2, 2, width=16), "network": "auto"},
        {"latent_dim": (3, 2)},
        {"likelihood": ColumnLikelihoods("feature")},
        {"posterior": Amortized(input_dropout=0.5)},
    ],
)
def test_other_models_take_them_too(parameters):
    vae = small(max_epochs=2, **parameters).fit(TABLE)
    assert np.isfinite(vae.score_samples(TABLE[:20], n_importance=4)).all()
    assert vae.sample(3).dtypes.equals(TABLE.dtypes)


def test_numbers_are_described_by_kinds_only_if_that_is_asked_for():
    numbers = TABLE[["age", "visits"]]
    assert small(max_epochs=1).fit(numbers).columns_ is None
    assert [c.kind for c in small(max_epochs=1, columns="auto").fit(numbers).columns_] == ["continuous", "count"]
    asked = small(max_epochs=1, columns={"visits": "continuous"}).fit(numbers)
    assert [c.kind for c in asked.columns_] == ["continuous", "continuous"]
    assert asked.schema_.is_discrete is False
    array = small(max_epochs=1, columns="auto").fit(numbers.to_numpy())
    assert np.isfinite(array.score_samples(numbers.to_numpy())).all()


def test_what_does_not_go_together_is_a_sentence():
    with pytest.raises(ValueError, match="has a likelihood for each column"):
        small(likelihood="gaussian").fit(TABLE)
    with pytest.raises(ValueError, match=r"likelihood=GaussianLikelihood\(scale=2\) can't be honored"):
        small(likelihood=GaussianLikelihood(2)).fit(TABLE)
    with pytest.raises(ValueError, match=r"ColumnLikelihoods: scale must be .*got 2"):
        ColumnLikelihoods(2)
    with pytest.raises(ValueError, match="are for tables"):
        small(columns="auto").fit(rng.random((20, 8, 8)))


def test_ten_thousand_levels_take_little_memory():
    names = np.array([f"n{i}" for i in range(10_000)])
    frame = pd.DataFrame({"name": np.concatenate([names, rng.choice(names[:50], 5000)]), "x": rng.normal(size=15_000)})
    tracemalloc.start()
    vae = small(max_epochs=1, batch_size=500).fit(frame)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    n_numbers = sum(p.numel() for p in [*vae.model_.parameters(), *vae.posterior_.parameters()])
    assert n_numbers < 20_000
    assert len(set(vae.sample(300)["name"])) > 50


def test_more_columns_than_rows():
    wide = pd.DataFrame({f"c{i}": rng.choice(list("abc"), 200) if i % 2 else rng.normal(size=200) for i in range(500)})
    vae = small(max_epochs=2).fit(wide)
    assert vae.sample(2).shape == (2, 500)
    assert np.isfinite(vae.score_samples(wide[:5])).all()


def test_columns_of_one_value_and_of_none():
    odd = TABLE.assign(always="yes", seven=7.0, never=np.nan)
    vae = small(max_epochs=2).fit(odd)
    drawn = vae.sample(3)
    assert set(drawn["always"]) == {"yes"}
    assert set(drawn["seven"]) == {7.0}
    assert drawn["never"].isna().all()
    assert np.isfinite(vae.score_samples(odd)).all()


@pytest.mark.parametrize("n_categories", [3, 100])
@pytest.mark.parametrize(
    "parameters",
    [
        {"network": MLP((400,))},
        {"network": MLP((400,)), "latent_dim": (3, 2)},
        {"network": "auto", "latent_dim": Ladder(2, 2, width=400)},
    ],
)
def test_as_much_of_a_row_reaches_the_encoder_however_many_levels_there_are(n_categories, parameters):
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({f"c{i}": draw.permutation(3000) % n_categories for i in range(8)}).astype(str)
    vae = small(optimizer=Adam(1e-12), max_epochs=1, batch_size=1000, **parameters).fit(frame)
    encoder = vae.posterior_.encoder
    layer = encoder.network.stem[1] if isinstance(vae.latent_dim, Ladder) else encoder.network.layers[0]
    first = layer(encoder.inputs(torch.from_numpy(encode(frame, vae.columns_)).float()))
    assert first.square().mean().item() == pytest.approx(1 / 3, rel=0.1)  # of weights from U(±1): Σ_c w²/8


def test_draws_of_a_column_with_two_hills_have_them():
    draw = np.random.default_rng(4)
    v = np.where(draw.random(2000) < 0.5, -3.0, 3.0) + draw.normal(0, 0.3, 2000)
    drawn = (
        small(columns="auto", optimizer=Adam(5e-3), max_epochs=5, batch_size=20)
        .fit(pd.DataFrame({"v": v}))
        .sample(2000)["v"]
    )
    assert stats.ks_2samp(drawn, v).statistic < 0.08
    assert drawn.between(-1.5, 1.5).mean() < 0.02


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
def test_means_of_large_ordinal_numbers_are_not_rounded_to_single_precision():
    days = np.repeat([20200101, 20200102, 20200103], [20, 60, 20])
    frame = pd.DataFrame({"day": days, "b": list("xy") * 50})
    vae = VAE(1, columns={"day": "ordinal"}, max_epochs=2, random_state=0).fit(frame)
    means = vae.sample(20, mean=True)["day"].to_numpy(float)
    assert (means % 1 > 0.01).sum() > 10  # single precision has whole numbers alone there
    assert ((means >= 20200101) & (means <= 20200103)).all()
