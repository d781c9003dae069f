"""Generating, reconstructing and encoding: the files that come out."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_new_images_are_a_grid(cli, digits_run, tmp_path):
    result = cli("generate", digits_run, "-n", 6, "-o", tmp_path / "grid.png")
    assert opened(tmp_path / "grid.png").shape == (2 + 2 * 58, 2 + 3 * 58)  # two rows of three, each enlarged to 56
    assert result.stderr.splitlines()[-1] == f"next: lowerbound evaluate {digits_run} DATA"


def test_new_images_are_an_array(cli, digits_run, tmp_path):
    for words in ([], ["--mean"], ["--random-state", 5]):
        cli("generate", digits_run, "-n", 6, "-o", tmp_path / "new.npy", "--force", *words, "-q")
        found = np.load(tmp_path / "new.npy")
        seed = 5 if "--random-state" in words else None
        assert np.array_equal(found, lowerbound.load(digits_run).sample(6, mean="--mean" in words, random_state=seed))


def test_new_rows_are_a_table_with_names(cli, table_run, tmp_path):
    result = cli("generate", table_run, "-n", 7, "-o", tmp_path / "new.csv", "--json")
    frame = pd.read_csv(tmp_path / "new.csv")
    assert list(frame.columns) == ["height", "weight", "age"]
    assert np.allclose(frame, lowerbound.load(table_run).sample(7), rtol=1e-8)
    assert json.loads(result.stdout) == {"output": str(tmp_path / "new.csv"), "shape": [7, 3]}
    assert not result.stderr


def test_rows_that_do_not_fit_the_file_are_refused(cli, table_run, digits_run, tmp_path):
    result = cli("generate", table_run, "-o", tmp_path / "new.png", exit_code=1)
    assert result.stderr == "error: rows of a table make no picture: give a name that ends in .csv or .npy\n"
    assert "images don't go into a table" in cli("generate", digits_run, "-o", tmp_path / "a.csv", exit_code=1).stderr
    assert (
        "must end in .png, .npy, .csv or .parquet"
        in cli("generate", digits_run, "-o", tmp_path / "a.jpg", exit_code=2).stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_reconstructions_stand_below_originals(cli, digits_run, tmp_path, images):
    words = ("reconstruct", digits_run, images, "--key", "x", "--label", "y", "-q")
    cli(*words, "-n", 4, "-o", tmp_path / "pairs.png")
    picture = opened(tmp_path / "pairs.png")
    margin = picture.shape[1] - (2 + 4 * 58)  # with the words input and reconstruction
    assert picture.shape[0] == 2 + 2 * 58
    assert 60 < margin < 120
    assert all((picture[top : top + 56, :margin] < 128).any() for top in (2, 60))
    picture = picture[:, margin:]
    first = np.load(images)["x"][0]
    assert np.array_equal(picture[2:58, 2:58][3::7, 3::7], first)  # one pixel of every enlarged one
    cli(*words, "-o", tmp_path / "all.npy")
    assert np.array_equal(np.load(tmp_path / "all.npy"), lowerbound.load(digits_run).reconstruct(np.load(images)["x"]))


def test_reconstructions_of_a_table(cli, table_run, table, tmp_path):
    result = cli("reconstruct", table_run, table, *TABLE_OPTIONS, "-o", tmp_path / "r.csv")
    frame = pd.read_csv(tmp_path / "r.csv")
    assert list(frame.columns) == ["height", "weight", "age"]
    assert len(frame) == 90
    words = f"--drop id --label class -o {table_run / 'map.png'}"
    assert result.stderr.splitlines()[-1] == f"next: lowerbound encode {table_run} {table} {words}"


def test_codes_with_labels(cli, table_run, table, tmp_path):
    cli("encode", table_run, table, *TABLE_OPTIONS, "-o", tmp_path / "codes.csv", "-q")
    frame = pd.read_csv(tmp_path / "codes.csv")
    assert list(frame.columns) == ["row", "class", "vae0", "vae1", "vae2"]
    X = pd.read_csv(table)
    assert list(frame["class"]) == list(X["class"])
    assert np.allclose(
        frame.iloc[:, 2:], lowerbound.load(table_run).transform(X[["height", "weight", "age"]]), atol=1e-8
    )
    cli("encode", table_run, table, *TABLE_OPTIONS, "-o", tmp_path / "codes.npy", "-q")
    assert np.load(tmp_path / "codes.npy").shape == (90, 3)


def test_a_map_of_codes(cli, digits_run, images, tmp_path):
    cli("encode", digits_run, images, "--key", "x", "--label", "y", "-o", tmp_path / "map.png", "-q")
    picture = opened(tmp_path / "map.png")
    assert min(picture.shape[:2]) > 500
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100  # colors of the classes


def test_a_map_needs_two_latent_variables(cli, table, tmp_path):
    cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "--latent-dim", 1, "-q")
    words = ("encode", tmp_path / "run", table, *TABLE_OPTIONS)
    assert "needs two latent variables" in cli(*words, "-o", tmp_path / "map.png", exit_code=1).stderr


def test_columns_are_matched_by_name(cli, table_run, table, tmp_path):
    frame = pd.read_csv(table)
    frame[["class", "age", "weight", "height"]].to_csv(tmp_path / "turned.csv", index=False)
    for data in (table, tmp_path / "turned.csv"):
        drop = TABLE_OPTIONS if data == table else ("--label", "class")
        cli("encode", table_run, data, *drop, "-o", tmp_path / f"{data.stem}.npy", "-q")
    assert np.array_equal(np.load(tmp_path / "people.npy"), np.load(tmp_path / "turned.npy"))


def test_other_columns_and_shapes_are_refused(cli, table_run, table, digits_run, tmp_path):
    words = ("-o", tmp_path / "x.npy")
    frame = pd.read_csv(table).drop(columns=["id", "class"])
    frame.assign(extra=1.5).to_csv(tmp_path / "more.csv", index=False)
    assert "add --drop extra" in cli("encode", table_run, tmp_path / "more.csv", *words, exit_code=1).stderr
    frame.drop(columns="age").to_csv(tmp_path / "less.csv", index=False)
    assert "no column 'age'" in cli("encode", table_run, tmp_path / "less.csv", *words, exit_code=1).stderr
    assert "fitted to (8, 8)" in cli("encode", digits_run, table, *TABLE_OPTIONS, *words, exit_code=1).stderr


def test_nothing_is_written_over_without_force(cli, digits_run, tmp_path):
    path = tmp_path / "new.npy"
    path.write_text("mine")
    assert "overwrite it with --force" in cli("generate", digits_run, "-o", path, exit_code=1).stderr
    assert path.read_text() == "mine"
    cli("generate", digits_run, "-o", path, "--force", "-q")
    assert np.load(path).shape == (64, 8, 8)


def test_a_file_stays_as_it_was_when_writing_fails(cli, digits_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "new.npy"
    path.write_text("mine")
    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    result = cli("generate", digits_run, "-o", path, "--force", exit_code=1)
    assert result.stderr == f"error: can't read or write {path}: No space left on device\n"
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_run_is_refused(cli, digits_run, tmp_path):
    assert "none doesn't exist" in cli("generate", tmp_path / "none", "-o", tmp_path / "x.png", exit_code=1).stderr
    assert "holds no saved model" in cli("generate", tmp_path, "-o", tmp_path / "x.png", exit_code=1).stderr
    no_folder = tmp_path / "none" / "x.png"
    assert "there is no folder" in cli("generate", digits_run, "-o", no_folder, exit_code=1).stderr


@pytest.mark.parametrize("command", ["reconstruct", "encode"])
def test_a_model_without_codes_is_sampled_only(cli, command, tmp_path):
    lowerbound.Factorized().fit(np.random.default_rng(0).normal(size=(20, 2))).save(tmp_path / "model")
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    cli("generate", tmp_path / "model", "-o", tmp_path / "new.csv", "-q")
    words = (command, tmp_path / "model", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    message = cli(*words, exit_code=1).stderr
    assert f"kind factorized, which `lowerbound {command}` can't use: vae, ppca" in message
    assert "factorized works with generate, evaluate, outliers, impute, report and compress" in message
