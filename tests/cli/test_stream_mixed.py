"""The commands on tables with text, categories and dates that are streamed."""

import json

import numpy as np
import pandas as pd
import pytest

import lowerbound
from lowerbound import MLP, VAE
from lowerbound.cli import filled_table
from lowerbound.data import sources
from lowerbound.data.columns import inference
from lowerbound.outliers import member
from lowerbound.storage import spool

N = 300
TINY = (
    "--hidden-layer-sizes",
    8,
    "--latent-dim",
    2,
    "--max-epochs",
    2,
    "--batch-size",
    25,
    "--lr",
    0.01,
    "--random-state",
    0,
    "-q",
)
FLAGS = ("--stream", "--no-stream")

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 8 * 7 * 50)
        patch.setattr(inference, "BLOCK_ROWS", 45)
        patch.setattr(member, "ROWS_AT_ONCE", 70)
        patch.setattr(spool, "RUN", 32)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    young = rng.random(N) < 0.5
    frame = pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(N)],
            "age": np.where(young, rng.normal(30, 4, N), rng.normal(60, 4, N)),
            "city": np.where(young, rng.choice(["Rome", "Oslo"], N), "Bern"),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], N), ["S", "M", "L"], ordered=True),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
            "seen": [f"2021-03-{1 + i % 28:02}" for i in range(N)],
            "visits": rng.negative_binomial(2, 0.05, N),
            "member": pd.array(rng.random(N) < 0.3, "boolean"),
            "kind": rng.choice(["x", "y"], N),
        }
    )
    for column in ("age", "city", "since", "visits", "member"):
        frame.loc[rng.random(N) < 0.1, column] = None
    frame.loc[:125, "visits"] = frame.loc[:125, "visits"].fillna(3)  # gaps that the first parts don't have
    folder = tmp_path_factory.mktemp("parts")
    for i in range(3):
        frame[100 * i : 100 * (i + 1)].to_parquet(folder / f"{i}.parquet", row_group_size=35)
    return folder


WORDS = ("--drop", "id", "--label", "kind")


@pytest.fixture(scope="module")
def run(cli, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cli("train", table, *WORDS, "--stream", "-o", folder, *TINY)
    return folder


def test_what_is_learned_of_the_columns_is_what_is_learned_in_memory(cli, run, table, tmp_path):
    cli("train", table, *WORDS, "--no-stream", "-o", tmp_path / "whole", *TINY)
    streamed, whole = lowerbound.load(run), lowerbound.load(tmp_path / "whole")
    assert streamed.schema_.metadata() == whole.schema_.metadata()
    assert [column.kind for column in streamed.columns_] == [
        "continuous", "categorical", "ordinal", "date", "date", "count", "binary"
    ]  # fmt: skip
    assert "stream = true" in (run / "config.toml").read_text()
    assert json.loads((run / "environment.json").read_text())["data"]["columns"][:2] == ["age", "city"]
    history = pd.read_json(run / "history.jsonl", lines=True)
    assert history["elbo"].is_monotonic_increasing


def test_a_batch_is_the_same_rows_as_in_memory(table):
    rows = lowerbound.read(table, drop=["id"], label="kind", stream=False, mixed=True).X
    source = lowerbound.stream(table, drop=["id"], label="kind")
    vae = VAE(max_epochs=1, random_state=0, network=MLP((8,))).fit(source)
    whole, streamed = vae.fitted_.rows(rows), vae.fitted_.rows(source)
    for ours, theirs in zip(streamed.batches(64), whole.batches(64), strict=True):
        assert (ours.x == theirs.x).all()
        assert (ours.mask == theirs.mask).all()
    assert np.array_equal(vae.score_samples(source, 4), vae.score_samples(rows, 4))
    assert np.array_equal(vae.transform(source), vae.transform(rows))


def test_other_columns_are_refused(table):
    vae = VAE(max_epochs=1, random_state=0, network=MLP((8,))).fit(lowerbound.stream(table))
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(lowerbound.stream(table, drop=["id"]))


def test_the_evaluation_is_that_of_the_whole(cli, run, table):
    words = ("evaluate", run, table, *WORDS, "--n-importance", 20, "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout) for flag in FLAGS)
    assert streamed["n"] == whole["n"] == N
    assert streamed["elbo"]["mean"] == pytest.approx(whole["elbo"]["mean"], rel=1e-6)
    assert streamed["log_likelihood"]["mean"] == pytest.approx(whole["log_likelihood"]["mean"], rel=5e-3)
    assert "was trained on these rows" in cli("evaluate", run, table, *WORDS, "--stream", "--n-importance", 1).stderr


@pytest.mark.parametrize(
    ("ending", "more"),
    [("csv", ()), ("parquet", ()), ("csv", ("--imputations", 2)), ("parquet", ("--imputations", 2)),
     ("parquet", ("--intervals",))],
)  # fmt: skip
def test_files_are_those_of_the_whole(cli, run, table, tmp_path, ending, more):
    words = ("impute", run, table, *WORDS, "--n-importance", 20, *more)
    for flag in FLAGS:
        cli(*words, "-o", tmp_path / f"filled{flag}.{ending}", flag, "-q")
    streamed, whole = (tmp_path / f"filled{flag}.{ending}" for flag in FLAGS)
    assert streamed.read_bytes() == whole.read_bytes()
    before, after = pd.read_parquet(table), pd.read_csv(streamed) if ending == "csv" else pd.read_parquet(streamed)
    assert not after[list(before)].isna().any().any()
    seen = before["city"].notna().to_numpy()
    assert (after["city"][:N][seen] == before["city"][seen].to_numpy()).all()


def test_codes_and_outliers_are_those_of_the_whole(cli, run, table, tmp_path):
    for flag in FLAGS:
        cli("encode", run, table, *WORDS, "-o", tmp_path / f"codes{flag}.parquet", flag, "-q")
        cli("outliers", run, table, *WORDS, "--explain", "-o", tmp_path / f"ranked{flag}.csv", flag, "-q")
    codes = [pd.read_parquet(tmp_path / f"codes{flag}.parquet") for flag in FLAGS]
    pd.testing.assert_frame_equal(*codes)
    assert codes[0]["kind"].tolist() == pd.read_parquet(table)["kind"].tolist()
    assert (tmp_path / "ranked--stream.csv").read_bytes() == (tmp_path / "ranked--no-stream.csv").read_bytes()


def test_data_are_described_as_in_memory(cli, table):
    streamed, whole = (json.loads(cli("data", "check", table, *WORDS, "--json", "-q", flag).stdout) for flag in FLAGS)
    assert streamed == whole
    assert streamed["labels"] == pd.read_parquet(table)["kind"].value_counts().to_dict()
    assert "categorical, 3 categories" in cli("data", "check", table, *WORDS, "--stream").stdout


def test_kinds_that_are_asked_for(cli, table, tmp_path):
    """Also for a table of numbers alone, which is otherwise one of real numbers."""
    frame = pd.read_parquet(table)[["age", "visits"]].dropna()
    frame.to_parquet(tmp_path / "numbers.parquet", row_group_size=35)
    source = lowerbound.stream(tmp_path / "numbers.parquet")
    vae = VAE(columns="auto", max_epochs=1, random_state=0, network=MLP((8,))).fit(source)
    assert [column.kind for column in vae.columns_] == ["continuous", "count"]
    assert VAE(max_epochs=1, random_state=0, network=MLP((8,))).fit(source).columns_ is None
    with pytest.raises(ValueError, match="needs all rows in memory"):
        lowerbound.Factorized().fit(lowerbound.stream(table))


def test_dates_of_all_parts_are_written_alike(cli, tmp_path):
    """The first parts have no times of day, and one of the columns nowhere."""
    day = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N) % 50, "D"))
    late = day + pd.to_timedelta(np.where(np.arange(N) > 200, 3601, 0), "s")
    frame = pd.DataFrame(
        {"x": np.arange(N) % 7 / 7, "day": day, "at": late, "zone": late.dt.tz_localize("Europe/Rome"), "kind": "a"}
    )
    frame.loc[::40, ["day", "at", "zone"]] = None
    frame.assign(written=late.dt.strftime("%Y-%m-%dT%H:%M:%S")).to_parquet(tmp_path / "t.parquet", row_group_size=35)
    words = (tmp_path / "t.parquet", "--stream")
    cli("train", *words, "-o", tmp_path / "run", *TINY)
    for more in ((), ("--imputations", 2), ("--intervals",)):
        cli("impute", tmp_path / "run", *words, *more, "-o", tmp_path / "t.csv", "--n-importance", 5, "-q", "--force")
        written = pd.read_csv(tmp_path / "t.csv", dtype=str)[["day", "at", "zone", "written"]]
        assert {name: set(written[name].str.len()) for name in written} == {
            "day": {10}, "at": {19}, "zone": {25}, "written": {19}
        }  # fmt: skip
        assert written["zone"][220] == "2020-01-21 01:00:01+01:00"


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        ("2020-01-02", "2020-01-02"),
        ("2020-01-02 03:04", "2020-01-02 03:04:00"),
        ("2020-01-02 03:04:05.000006", "2020-01-02 03:04:05.000006"),
        ("2020-01-02 03:04:05.000000007", "2020-01-02 03:04:05.000000007"),
        ("2020-01-02 00:00-05:30", "2020-01-02 00:00:00-05:30"),
    ],
)
def test_a_date_is_written_as_shortly_as_can_be(stamp, text):
    dates = pd.Series([pd.Timestamp(stamp), pd.NaT])
    assert filled_table.as_text(dates, filled_table.FORMATS[filled_table._resolution(dates)]).tolist() == [
        text,
        pytest.approx(np.nan, nan_ok=True),
    ]
