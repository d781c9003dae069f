"""Names of rows: a column of a table, files of a folder, or places; in every result, and in no model."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.conftest import TINY

from lowerbound import load, read
from lowerbound.data.checks import DataError


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """A table whose ids have leading zeros, repeat, and one of which looks like a gap; with gaps in other columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 3)), columns=["a", "b", "c"])
    frame.loc[3, "b"] = np.nan
    frame.insert(1, "patient", [f"{i // 2:04d}" for i in range(40)])
    frame.loc[5, "patient"] = "NA"
    folder = tmp_path_factory.mktemp("patients")
    frame.to_csv(folder / "table.csv", index=False)
    frame.to_parquet(folder / "table.parquet", row_group_size=7)
    return folder, frame


@pytest.fixture(scope="module")
def run(cli, patients):
    cli("train", patients[0] / "table.csv", "--id", "patient", "-o", patients[0] / "run", "--max-epochs", 1, *TINY)
    return patients[0] / "run"


def as_text(path, *columns):
    return pd.read_csv(path, dtype=dict.fromkeys(columns, str), keep_default_na=False)


@pytest.mark.parametrize("source", ["table.csv", "table.parquet", "streamed"])
def test_a_run_knows_the_names_and_leaves_them_out(cli, patients, run, tmp_path, source):
    folder, frame = patients
    assert list(load(run).feature_names_in_) == ["a", "b", "c"]
    data = [folder / "table.parquet", "--stream"] if source == "streamed" else [folder / source]
    cli("encode", run, *data, "-o", tmp_path / "codes.csv")
    codes = as_text(tmp_path / "codes.csv", "patient")
    assert list(codes.columns[:2]) == ["row", "patient"]
    assert codes["patient"].tolist() == frame["patient"].tolist()
    cli("evaluate", run, *data, "--n-importance", 3, "--rows", tmp_path / "rows.csv")
    rows = as_text(tmp_path / "rows.csv", "patient")
    assert list(rows.columns) == ["row", "patient", "log_p"]
    assert rows["patient"].tolist() == frame["patient"].tolist()
    cli("outliers", run, *data, "-o", tmp_path / "outliers.csv")
    ranked = as_text(tmp_path / "outliers.csv", "patient")
    assert ranked["patient"].tolist() == frame["patient"].iloc[ranked["row"]].tolist()
    cli("impute", run, *data, "-o", tmp_path / "filled.csv", "--n-importance", 5)
    filled = as_text(tmp_path / "filled.csv", "patient")
    assert list(filled.columns) == ["a", "patient", "b", "c"]
    assert filled["patient"].tolist() == frame["patient"].tolist()


def test_cells_that_are_no_features_are_written_as_they_are(cli, patients, run, tmp_path):
    words = (patients[0] / "table.csv", "--n-importance", 5)
    cli("impute", run, *words, "-o", tmp_path / "filled.parquet")
    assert pd.read_parquet(tmp_path / "filled.parquet")["patient"].tolist() == patients[1]["patient"].tolist()
    patients[1].assign(note="NA").to_csv(tmp_path / "more.csv", index=False)
    cli("impute", run, tmp_path / "more.csv", "--drop", "note", "-o", tmp_path / "filled.csv")
    assert as_text(tmp_path / "filled.csv")["note"].tolist() == ["NA"] * 40


def test_numbers_stay_whole_where_some_are_missing(cli, patients, run, tmp_path):
    frame = patients[1].assign(patient=pd.array([2**60 + i if i % 9 else None for i in range(40)], "Int64"))
    frame.to_parquet(tmp_path / "numbers.parquet", row_group_size=7)
    for words in ("outliers", "encode"):
        cli(words, run, tmp_path / "numbers.parquet", "--stream", "-o", tmp_path / f"{words}.csv")
        found = as_text(tmp_path / f"{words}.csv", "patient").sort_values("row")["patient"].tolist()
        assert found == ["" if pd.isna(each) else str(each) for each in frame["patient"]]


def test_two_runs_are_scored_row_by_row(cli, patients, run, tmp_path):
    data = patients[0] / "table.csv"
    cli("train", data, "--id", "patient", "-o", tmp_path / "b", "--model", "gaussian")
    result = cli("evaluate", run, tmp_path / "b", data, "--n-importance", 3, "--rows", tmp_path / "r.parquet", "--json")
    assert '"difference"' in result.stdout
    rows = pd.read_parquet(tmp_path / "r.parquet")
    assert list(rows.columns) == ["row", "patient", "log_p_1", "log_p_2", "difference"]
    np.testing.assert_allclose(rows["difference"], rows["log_p_1"] - rows["log_p_2"])


@pytest.mark.parametrize("model", ["imputer", "detector"])
def test_models_fitted_in_one_go_know_the_names_too(cli, patients, tmp_path, model):
    data = patients[0] / "table.csv"
    few = ["-s", "n_steps=5"] if model == "detector" else ["-s", "n_importance=5"]
    cli("train", data, "--id", "patient", "-o", tmp_path / "run", "--model", model, *few, "-q")
    assert list(load(tmp_path / "run").feature_names_in_) == ["a", "b", "c"]
    command = "outliers" if model == "detector" else "impute"
    cli(command, tmp_path / "run", data, "-o", tmp_path / "found.csv")
    assert "NA" in as_text(tmp_path / "found.csv", "patient")["patient"].tolist()


def test_a_table_without_the_column_is_numbered(cli, patients, run, tmp_path):
    patients[1].drop(columns="patient").to_csv(tmp_path / "other.csv", index=False)
    cli("outliers", run, tmp_path / "other.csv", "--reference", patients[0] / "table.csv", "-o", tmp_path / "o.csv")
    assert list(pd.read_csv(tmp_path / "o.csv").columns[:2]) == ["row", "score"]
    with_names = (patients[0] / "table.csv", "--reference", tmp_path / "other.csv")
    cli("outliers", run, *with_names, "-o", tmp_path / "p.csv")
    assert list(pd.read_csv(tmp_path / "p.csv").columns[:3]) == ["row", "patient", "score"]


def test_a_column_that_is_not_there_is_named(cli, patients, run, tmp_path):
    for ending in ("csv", "parquet"):
        words = ("outliers", run, patients[0] / f"table.{ending}", "--id", "patent", "-o", tmp_path / "o.csv")
        said = cli(*words, exit_code=1).stderr
        assert "no column 'patent'; did you mean 'patient'? Its columns are: a, patient, b, c." in said
    np.save(tmp_path / "x.npy", np.zeros((4, 3)))
    with pytest.raises(DataError, match="id names a column of a table"):
        read(tmp_path / "x.npy", id="a")


def test_a_result_has_no_two_columns_of_one_name(cli, patients, run, tmp_path):
    patients[1].rename(columns={"patient": "score"}).to_csv(tmp_path / "t.csv", index=False)
    said = cli("outliers", run, tmp_path / "t.csv", "--id", "score", "-o", tmp_path / "o.csv", exit_code=1).stderr
    assert "--id score: the result has a column of that name too" in said


def test_names_that_repeat_are_said(cli, patients):
    said = cli("data", "check", patients[0] / "table.csv", "--id", "patient")
    assert "patient, which repeats: 21 different" in said.stdout
    assert "train" in said.stderr
    assert "--id patient" in said.stderr


def test_files_and_places(cli, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (6, 8, 8), np.uint8)
    for i, image in enumerate(X):
        (tmp_path / "images" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / "ab"[i % 2] / f"{i}.png")
    folder, array = tmp_path / "images", tmp_path / "x.npy"
    np.save(array, X[[0, 2, 4, 1, 3, 5]])
    cli("train", folder, "-o", tmp_path / "run", "--max-epochs", 1, "--latent-dim", 2, "--random-state", 0)
    for source, columns in ((folder, ["row", "file"]), (array, ["row"])):
        cli("encode", tmp_path / "run", source, "-o", tmp_path / "codes.csv", "--force")
        cli("evaluate", tmp_path / "run", source, "--n-importance", 2, "--rows", tmp_path / "rows.csv", "--force")
        for name in ("codes", "rows"):
            found = pd.read_csv(tmp_path / f"{name}.csv")
            assert list(found.columns[: len(columns)]) == columns
            assert found["row"].tolist() == list(range(6))
            if "file" in columns:
                assert found["file"].tolist() == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]


def test_completed_arrays_below_each_other_are_numbered(cli, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 3))
    X[4, 1] = np.nan
    np.save(tmp_path / "x.npy", X)
    cli("train", tmp_path / "x.npy", "-o", tmp_path / "run", "--max-epochs", 1, *TINY)
    cli("impute", tmp_path / "run", tmp_path / "x.npy", "--imputations", 2, "-o", tmp_path / "two.csv")
    two = pd.read_csv(tmp_path / "two.csv")
    assert list(two.columns) == ["row", "x0", "x1", "x2", "imputation"]
    assert two["row"].tolist() == 2 * list(range(30))
