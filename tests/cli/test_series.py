"""Series with gaps on the command line: tables whose rows are steps are filled, forecast and ranked."""

import numpy as np
import pandas as pd
import pytest

import lowerbound

SMALL = ("--model", "recurrent", "--hidden-size", "8", "--batch-size", "8", "--lr", "0.02", "--random-state", "0")
LONG = ("--id", "sensor", "--time", "when")


def readings(path, n=24, gaps=False, unusual=None):
    rng, tables = np.random.default_rng(3), []
    for i in range(n):
        x = rng.normal(size=12).cumsum() + (50 if i == unusual else 0)
        when = pd.date_range("2024-01-01", periods=12, freq="5min")
        tables.append(pd.DataFrame({"sensor": f"s{i}", "when": when, "x": x, "kind": np.where(x > 0, "u", "v")}))
    table = pd.concat(tables)
    if gaps:
        table.iloc[4:6, 2] = np.nan
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return readings(tmp_path_factory.mktemp("series") / "series.csv")


@pytest.fixture(scope="module")
def run(cli, series, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "series"
    cli("train", series, *LONG, *SMALL, "--latent-dim", 0, "--max-epochs", 6, "-o", folder)
    return folder


def test_data_check_describes_the_columns_and_the_time(cli, series):
    found = cli("data", "check", series, *LONG, "--every", "5min")
    assert "2024-01-01 00:00:00 to 2024-01-01 00:55:00" in found.stdout
    assert "kind       str, binary" in found.stdout or "kind" in found.stdout
    assert f"train {series} --id sensor --time when --every 5min --model recurrent -o" in found.stderr


def test_one_long_series_is_cut_into_windows(cli, series, tmp_path):
    table = pd.read_csv(series)
    path = tmp_path / "one.csv"
    table[table.sensor == "s0"].drop(columns="sensor").to_csv(path, index=False)
    told = cli("data", "check", path, "--time", "when").stderr
    assert "--model recurrent --window 2 -o" in told
    found = cli(
        "train", path, "--time", "when", *SMALL, "--latent-dim", 0, "--max-epochs", 1, "-o", tmp_path / "a", exit_code=1
    )
    assert "window" in found.stderr
    cli(
        "train",
        path,
        "--time",
        "when",
        *SMALL,
        "--latent-dim",
        0,
        "--max-epochs",
        1,
        "--window",
        3,
        "-o",
        tmp_path / "b",
    )


def test_gaps_are_filled_in_a_table_like_the_data(cli, run, tmp_path):
    path = readings(tmp_path / "gappy.csv", 3, gaps=True)
    words = ("impute", run, path, "--seed", 1, "-o")
    cli(*words, tmp_path / "filled.csv", "--fill", "median", "--intervals")
    before, after = pd.read_csv(path), pd.read_csv(tmp_path / "filled.csv")
    assert list(after.columns) == ["sensor", "when", "x", "kind", "x_low", "kind_low", "x_high", "kind_high"]
    assert after[["sensor", "when", "kind"]].equals(before[["sensor", "when", "kind"]])
    seen = before["x"].notna()
    np.testing.assert_allclose(after["x"][seen], before["x"][seen], rtol=1e-6)
    X = lowerbound.read(path, id="sensor", time="when").X
    wanted = lowerbound.load(run).impute(X, 50, random_state=1).median()
    np.testing.assert_allclose(after["x"], np.concatenate([each["x"] for each in wanted]), rtol=1e-6)
    assert (after["x_low"] <= after["x"]).all()
    cli(*words, tmp_path / "draws.csv", "--imputations", 2)
    draws = pd.read_csv(tmp_path / "draws.csv")
    assert draws["imputation"].value_counts().tolist() == [36, 36]
    assert draws["x"].notna().all()
    assert "--check" in cli("impute", run, path, "--check", exit_code=2).stderr


def test_forecasts_are_quantiles_in_a_table_or_a_picture(cli, series, run, tmp_path):
    words = ("forecast", run, series, "--steps", 3, "--seed", 1, "-n", 20)
    cli(*words, "--quantiles", "0.5,0.1", "-o", tmp_path / "next.csv")
    table = pd.read_csv(tmp_path / "next.csv")
    assert list(table.columns) == ["sensor", "when", "x_0.1", "x_0.5", "kind_0.1", "kind_0.5"]
    assert table["when"].tolist()[:3] == [f"2024-01-01 01:{minute:02}:00" for minute in (0, 5, 10)]
    X = lowerbound.read(series, id="sensor", time="when").X
    low, _ = lowerbound.load(run).forecast(X, 3, (0.1, 0.5), n_draws=20, random_state=1)
    np.testing.assert_allclose(table["x_0.1"], np.concatenate([each["x"] for each in low]))
    cli(*words, "-o", tmp_path / "next.png")
    assert (tmp_path / "next.png").stat().st_size > 1000
    assert "between 0 and 1" in cli(*words, "--quantiles", "2", "-o", tmp_path / "b.csv", exit_code=2).stderr


def test_unusual_sequences_and_steps_are_found(cli, series, run, tmp_path):
    path = readings(tmp_path / "new.csv", 6, unusual=4)
    found = cli("outliers", run, path, "-o", tmp_path / "a.csv", "--steps", tmp_path / "steps.csv", "--explain")
    table, steps = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "steps.csv")
    assert (table["sensor"][0], table["p_value"][0]) == ("s4", pytest.approx(1 / 25))
    assert "x is" in table["explanation"][0]
    assert "no p-value is below 0.04" in found.stderr
    X = lowerbound.read(path, id="sensor", time="when").X
    np.testing.assert_allclose(steps["log_p"], np.concatenate(lowerbound.load(run).score_steps(X)))
    assert list(steps.columns) == ["sensor", "when", "log_p"]
    assert "--plot" in cli("outliers", run, path, "-o", tmp_path / "b.csv", "--plot", exit_code=2).stderr


def test_draws_and_scores_have_the_columns_of_the_data(cli, series, run, tmp_path):
    cli("generate", run, "-n", 2, "--steps", 3, "-o", tmp_path / "new.csv")
    assert list(pd.read_csv(tmp_path / "new.csv").columns) == ["sensor", "step", "x", "kind"]
    cli("generate", run, "-n", 2, "--steps", 3, "-o", tmp_path / "new.png")
    found = cli("generate", run, "-n", 2, "--steps", 3, "-o", tmp_path / "new.npz", exit_code=1)
    assert "several kinds make no array" in found.stderr
    cli("evaluate", run, series, "--rows", tmp_path / "rows.csv")
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows.columns.tolist() == ["sequence", "sensor", "steps", "log_p"]
    assert rows["sensor"].tolist() == [f"s{i}" for i in range(24)]
