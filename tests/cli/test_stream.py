"""The commands on data that are streamed."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lowerbound
from lowerbound import VAE, VAEImputer, VAEOutlierDetector
from lowerbound.cli import output, scoring
from lowerbound.data import sources
from lowerbound.outliers import member
from lowerbound.storage import spool

N = 300
TINY = ("--hidden-layer-sizes", 8, "--latent-dim", 2, "--max-epochs", 2, "--batch-size", 25, "--random-state", 0, "-q")


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 8 * 4 * 50)
        yield


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 2)) @ rng.standard_normal((2, 4)) + 0.1 * rng.standard_normal((N, 4))
    return pd.DataFrame(X, columns=list("abcd")).assign(kind=rng.choice(["x", "y"], N))


def in_parts(frame, folder):
    for i in range(3):
        frame[100 * i : 100 * (i + 1)].to_parquet(folder / f"{i}.parquet", row_group_size=35)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory, frame):
    return in_parts(frame, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def run(cli, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cli("train", table, "--label", "kind", "--stream", "-o", folder, *TINY)
    return folder


def in_memory(path):
    return lowerbound.read(path, label="kind", stream=False)


def test_codes_and_reconstructions_are_those_of_the_whole(cli, run, table, tmp_path):
    model, whole = lowerbound.load(run), in_memory(table)
    words = (table, "--label", "kind", "--stream")
    for ending in ("csv", "parquet", "npy"):
        cli("encode", run, *words, "-o", tmp_path / f"codes.{ending}")
    codes = model.transform(whole.X)
    table_of_codes = pd.read_parquet(tmp_path / "codes.parquet")
    assert np.array_equal(np.load(tmp_path / "codes.npy"), codes)
    assert np.array_equal(table_of_codes[["vae0", "vae1"]].to_numpy(), codes)
    assert pd.read_csv(tmp_path / "codes.csv")["kind"].tolist() == whole.labels.tolist()
    cli("reconstruct", run, *words, "-o", tmp_path / "back.parquet")
    back = pd.read_parquet(tmp_path / "back.parquet")
    assert list(back.columns) == list("abcd")
    np.testing.assert_allclose(back.to_numpy(), model.reconstruct(whole.X), rtol=1e-4, atol=1e-6)
    cli("encode", run, *words, "-o", tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_the_evaluation_is_that_of_the_whole(cli, run, table):
    words = ("evaluate", run, table, "--label", "kind", "--n-importance", 20, "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout) for flag in ("--stream", "--no-stream"))
    assert streamed["n"] == whole["n"] == N
    assert streamed["log_likelihood"] == whole["log_likelihood"]
    assert streamed["elbo"].pop("kind") == whole["elbo"].pop("kind") == "lower"
    assert streamed["elbo"] == pytest.approx(whole["elbo"], rel=1e-6)
    assert streamed["mutual_information"]["mean"] == pytest.approx(whole["mutual_information"]["mean"], rel=1e-4)
    for name in ("reconstruction", "kl", "active_units", "kl_per_dimension"):
        assert streamed[name] == pytest.approx(whole[name], rel=1e-6)


def test_a_run_remembers_that_it_streams(cli, run, table, tmp_path):
    assert "stream = true" in (run / "config.toml").read_text()
    record = json.loads((run / "environment.json").read_text())["data"]
    assert record["hashed_rows"] == 320  # five from each of 64 places
    assert record["columns"] == list("abcd")
    result = cli("evaluate", run, table, "--label", "kind", "--stream", "--n-importance", 1)
    assert "was trained on these rows" in result.stderr


def test_the_same_seed_gives_the_same_run(cli, run, table, tmp_path):
    cli("train", table, "--label", "kind", "--stream", "-o", tmp_path / "again", *TINY)
    first, second = (pd.read_json(r / "history.jsonl", lines=True) for r in (run, tmp_path / "again"))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))


def test_data_are_described_in_one_pass(cli, table, frame):
    words = ("data", "check", table, "--label", "kind", "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout) for flag in ("--stream", "--no-stream"))
    for column in whole["columns"]:
        column["distinct"] = None
    assert streamed.pop("columns") == [pytest.approx(column) for column in whole.pop("columns")]
    assert streamed == whole
    assert "0.0" not in cli("data", "check", table, "--label", "kind", "--stream").stdout.split("missing")[1][:9]


def test_images_are_streamed(cli, tmp_path, images):
    with np.load(images) as arrays:
        X = arrays["x"]
    np.save(tmp_path / "x.npy", X)
    run = tmp_path / "run"
    cli("train", tmp_path / "x.npy", "--stream", "-o", run, *TINY, "--network", "mlp")
    cli("reconstruct", run, tmp_path / "x.npy", "--stream", "-o", tmp_path / "pairs.png")
    cli("reconstruct", run, tmp_path / "x.npy", "--stream", "-o", tmp_path / "x2.npy")
    assert np.load(tmp_path / "x2.npy").shape == X.shape


def test_a_long_evaluation_of_a_stream_goes_on_where_it_was(cli, run, table, monkeypatch):
    words = ("evaluate", run, table, "--label", "kind", "--n-importance", 5, "--json", "--stream")
    monkeypatch.setattr(scoring, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(scoring, "SAVE_COST", 0)
    monkeypatch.setitem(scoring.ROWS_IN_A_PART, "importance", 35)
    whole = json.loads(cli(*words).stdout)
    plain, parts = VAE.log_likelihood_rows, []

    def stopped(self, X, *args, **options):
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append(options["first_row"])
        return plain(self, X, *args, **options)

    monkeypatch.setattr(VAE, "log_likelihood_rows", stopped)
    cli(*words, exit_code=130)
    monkeypatch.setattr(VAE, "log_likelihood_rows", plain)
    result = cli(*words)
    assert parts == [0, 35, 70]
    assert "continuing after 105 of 300 rows" in result.stderr
    assert json.loads(result.stdout) == whole
    assert not list(run.glob("evaluation-*"))


def test_two_models_are_compared_on_the_same_rows(cli, run, table, tmp_path):
    cli("train", table, "--label", "kind", "-o", tmp_path / "other", *TINY, "--latent-dim", 1)
    words = ("evaluate", run, tmp_path / "other", table, "--label", "kind", "--n-importance", 5, "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout) for flag in ("--stream", "--no-stream"))
    assert streamed == whole
    assert streamed["n"] == N


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_two_models_of_binarized_data_see_the_same_zeros_and_ones(cli, tmp_path, dtype):
    X = np.random.default_rng(0).integers(0, 256, (700, 12)).astype(dtype) / (1 if dtype == np.uint8 else 255)
    X = X.astype(dtype)
    if dtype == np.float32:
        X[::50, 3] = np.nan
    np.save(tmp_path / "x.npy", X)
    for name, size in (("a", 1), ("b", 2)):
        words = ("--binarize", "sample", "-o", tmp_path / name, *TINY, "--latent-dim", size)
        cli("train", tmp_path / "x.npy", "--stream", *words)
    words = ("evaluate", tmp_path / "a", tmp_path / "b", tmp_path / "x.npy", "--n-importance", 5, "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout) for flag in ("--stream", "--no-stream"))
    assert streamed == whole
    assert streamed["difference"]["standard_error"] > 0


def test_a_closer_look_at_a_stream(cli, run, table):
    words = ("evaluate", run, table, "--label", "kind", "--n-importance", 5, "--inference-gap", 20, "--json", "-q")
    streamed, whole = (json.loads(cli(*words, flag).stdout)["inference_gap"] for flag in ("--stream", "--no-stream"))
    assert streamed["total"] == pytest.approx(whole["total"])


def test_models_are_compared_on_rows_from_all_over(cli, frame, table, tmp_path, monkeypatch):
    frame.iloc[np.linspace(0, N - 1, 100).round().astype(int)].to_parquet(tmp_path / "some.parquet")
    words = ("--label", "kind", "--models", "factorized,ppca", "--json")
    whole = json.loads(cli("compare", tmp_path / "some.parquet", *words).stdout)
    monkeypatch.setattr(sys.modules["lowerbound.cli.compare"], "COMPARED", 100)
    result = cli("compare", table, *words, "--stream")
    assert "compared on 100 of the 300 rows" in result.stderr
    streamed = json.loads(result.stdout)
    assert streamed["rows"] == whole["rows"] == {"fitted": 80, "scored": 20}
    assert [m["log_likelihood"] for m in streamed["models"]] == [m["log_likelihood"] for m in whole["models"]]


@pytest.mark.parametrize("more", [(), ("--explain", "--plot"), ("--criterion", "log_p")])
def test_outliers_are_ranked_as_those_of_the_whole(cli, run, table, tmp_path, monkeypatch, more):
    for name, size in (("ROWS_AT_ONCE", 70), ("ROWS_TO_KNOW_ENTRIES", 150)):
        for module in (member, VAEOutlierDetector.__module__):
            monkeypatch.setattr(sys.modules[getattr(module, "__name__", module)], name, size, raising=False)
    monkeypatch.setattr(spool, "RUN", 32)
    words = ("outliers", run, table, "--label", "kind", *more, "-o")
    said = [cli(*words, tmp_path / f"ranked{flag}.csv", flag).stdout for flag in ("--stream", "--no-stream")]
    streamed, whole = ((tmp_path / f"ranked{flag}.csv").read_bytes() for flag in ("--stream", "--no-stream"))
    assert streamed == whole
    assert said[0] == said[1]
    ranked = pd.read_csv(tmp_path / "ranked--stream.csv")
    assert sorted(ranked["row"]) == list(range(N))
    assert ranked["score"].is_monotonic_decreasing
    model, rows = lowerbound.load(run), in_memory(table)
    alone = VAEOutlierDetector(model, criterion="log_p" if "log_p" in more else "combined", random_state=0).fit(rows.X)
    np.testing.assert_allclose(ranked["score"], -alone.score_samples(rows.X)[ranked["row"]], rtol=1e-4)
    assert (rows.labels[ranked["row"]] == ranked["kind"]).all()
    assert {path.name for path in tmp_path.iterdir() if path.name[0] == "."} == set()


def test_outliers_among_images_that_are_streamed(cli, tmp_path, images):
    with np.load(images) as arrays:
        np.save(tmp_path / "x.npy", arrays["x"])
    run = tmp_path / "run"
    cli("train", tmp_path / "x.npy", "-o", run, *TINY, "--network", "mlp")
    for flag in ("--stream", "--no-stream"):
        words = ("outliers", run, tmp_path / "x.npy", "--criterion", "elbo", "--plot", "--explain", flag, "-q")
        cli(*words, "-o", tmp_path / f"ranked{flag}.csv")
    for ending in ("csv", "png"):
        streamed, whole = (tmp_path / f"ranked{flag}.{ending}" for flag in ("--stream", "--no-stream"))
        assert streamed.read_bytes() == whole.read_bytes()


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(member, "ROWS_AT_ONCE", 70)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory, frame):
    """The table with gaps, whole numbers, truth values and a column of text that the model doesn't know."""
    rng = np.random.default_rng(1)
    frame = frame.assign(
        whole=pd.array(rng.integers(0, 5, N), "Int16"), truth=pd.array(rng.random(N) < 0.3, "boolean"), name="<ä>"
    )
    for column in ("a", "c", "whole", "truth"):
        frame.loc[rng.random(N) < 0.1, column] = None
    frame.loc[:150, "c"] = frame.loc[:150, "c"].fillna(0)  # gaps that the first parts don't have
    return in_parts(frame, tmp_path_factory.mktemp("gappy"))


@pytest.fixture(scope="module")
def gappy_run(cli, gappy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "gappy"
    cli("train", gappy, *KNOWN, "-o", folder, *TINY)
    return folder


KNOWN = ("--label", "kind", "--drop", "name")


@pytest.mark.parametrize(
    ("ending", "more"),
    [
        ("npy", ()),
        *((table, more) for table in ("csv", "parquet") for more in ((), ("--imputations", 3), ("--intervals",))),
    ],
)
def test_gaps_are_filled_as_those_of_the_whole(cli, gappy, gappy_run, tmp_path, short_parts, more, ending):
    words = ("impute", gappy_run, gappy, *KNOWN, "--n-importance", 20, *more, "-o")
    said = [cli(*words, tmp_path / f"{flag[2:]}.{ending}", flag).stderr for flag in ("--stream", "--no-stream")]
    streamed, whole = (tmp_path / f"{name}.{ending}" for name in ("stream", "no-stream"))
    assert streamed.read_bytes() == whole.read_bytes()
    assert said[0].replace("stream.", "no-stream.") == said[1]
    if ending == "npy":
        assert not np.isnan(np.load(streamed)).any()
        return
    before, after = pd.read_parquet(gappy), pd.read_csv(streamed) if ending == "csv" else pd.read_parquet(streamed)
    extra = {(): [], ("--imputations", 3): ["imputation"]}.get(more)
    extra = [f"{c}_{end}" for c in ("a", "c", "whole", "truth") for end in ("low", "high")] if extra is None else extra
    assert list(after) == [*before, *extra]
    assert not after[list(before)].isna().any().any()
    if more == ("--imputations", 3):
        assert after["imputation"].tolist() == np.repeat([1, 2, 3], N).tolist()
        first, second = (after[after["imputation"] == i].reset_index(drop=True) for i in (1, 2))
        assert (first["a"] != second["a"]).sum() == before["a"].isna().sum()
        after = first
    for name in before:
        seen = before[name].notna().to_numpy()
        assert (after.loc[seen, name].to_numpy() == before.loc[seen, name].to_numpy()).all()
    assert (after["whole"] == after["whole"].round()).all()
    assert set(after["truth"].unique()) == {True, False}
    if ending == "parquet":
        types = pq.read_schema(streamed)
        assert (types.field("whole").type, types.field("truth").type) == (pa.int16(), pa.bool_())
    alone = VAEImputer(lowerbound.load(gappy_run), n_importance=20, random_state=0)
    X = lowerbound.read(gappy, label="kind", drop=["name"], stream=False).X
    if not more:
        np.testing.assert_allclose(after["a"], np.asarray(alone.fit(X).transform(X), float)[:, 0], rtol=1e-4)


def test_an_array_that_is_streamed_is_filled(cli, tmp_path, short_parts):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 4)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    np.save(tmp_path / "x.npy", X)
    cli("train", tmp_path / "x.npy", "-o", tmp_path / "run", *TINY)
    for ending in ("npy", "csv"):
        for flag in ("--stream", "--no-stream"):
            words = ("impute", tmp_path / "run", tmp_path / "x.npy", "--n-importance", 20, flag, "-q")
            cli(*words, "-o", tmp_path / f"{flag[2:]}.{ending}")
        assert (tmp_path / f"stream.{ending}").read_bytes() == (tmp_path / f"no-stream.{ending}").read_bytes()
    filled = np.load(tmp_path / "stream.npy")
    assert filled.dtype == X.dtype
    assert np.array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    said = cli("impute", tmp_path / "run", tmp_path / "x.npy", "--check", "--stream", "--n-importance", 20)
    assert "checked on 300 rows" in said.stderr


def test_progress_is_told_of_every_row_once(cli, run, table, tmp_path, monkeypatch, short_parts):
    told = []

    @contextmanager
    def progress(console, n_rows, what, done=0):
        counts = []
        yield counts.append
        told.append((what, n_rows, sum(counts)))

    monkeypatch.setattr(output.Console, "progress", progress)
    words = (run, table, "--label", "kind", "--stream", "-o")
    for command, ending, more in (
        ("impute", "csv", ()), ("impute", "npy", ()), ("impute", "parquet", ("--imputations", 2)),
        ("impute", "csv", ("--intervals",)), ("outliers", "csv", ()), ("encode", "npy", ()), ("reconstruct", "npy", ()),
    ):  # fmt: skip
        cli(command, *words, tmp_path / f"out.{ending}", *more, "--force")
    told = [each for each in told if each[0] != "comparing"]  # usual rows, which are others
    assert told == [("filling", N, N)] * 4 + [(what, N, N) for what in ("scoring", "encoding", "reconstructing")]


def test_a_bar_is_drawn_on_a_terminal_alone(monkeypatch, capsys):
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        with output.Console().progress(10, "filling", 5) as progress:
            progress(3)
        assert ("filling  50%" in capsys.readouterr().err) == is_terminal


def test_columns_in_another_order_are_filled_where_they_are(cli, run, table, tmp_path):
    frame = pd.read_parquet(table)
    frame.loc[:10, "a"] = np.nan
    other = tmp_path / "other.parquet"
    frame[["kind", "d", "a", "c", "b"]].to_parquet(other)
    cli("impute", run, other, "--label", "kind", "-o", tmp_path / "filled.parquet", "--n-importance", 50)
    filled = pd.read_parquet(tmp_path / "filled.parquet")
    assert list(filled) == ["kind", "d", "a", "c", "b"]
    X = frame[list("abcd")]
    alone = VAEImputer(lowerbound.load(run), n_importance=50, random_state=0).fit(X)
    np.testing.assert_allclose(filled[list("abcd")], alone.transform(X), rtol=1e-5)
