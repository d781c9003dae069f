"""A run is continued with the data and parameters it was begun with, and with nothing else without a word."""

import json
import os
import tomllib

import numpy as np
import pandas as pd
import pytest
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound


def train(cli, data, run, *more, **how):
    return cli("train", data, *TABLE_OPTIONS, "-o", run, *TINY, "-q", *more, **how)


def test_a_finished_run_is_not_taken_for_that_of_other_data(cli, table, other_table, table_run):
    words = ("train", other_table, *TABLE_OPTIONS, "-o", table_run, "--resume")
    assert "was trained on other data (people.csv of shape (90, 3))" in cli(*words, exit_code=1).stderr
    same = cli("train", table, *TABLE_OPTIONS, "-o", table_run, "--resume")
    assert "there is nothing to resume" in same.stderr


def test_nor_is_one_that_was_fitted_in_one_go(cli, table, other_table, tmp_path):
    words = ("-o", tmp_path / "run", "--model", "mixture", "--n-components", 2)
    cli("train", table, *TABLE_OPTIONS, *words, "-q")
    assert "nothing to resume" in cli("train", table, *TABLE_OPTIONS, *words, "--resume").stderr
    other = cli("train", other_table, *TABLE_OPTIONS, *words, "--resume", exit_code=1)
    assert "was trained on other data" in other.stderr
    other = cli("train", table, *TABLE_OPTIONS, *words[:-1], 3, "--resume", exit_code=1)
    assert "where n_components is 2, not 3" in other.stderr


def test_a_finished_run_whose_data_are_gone_is_finished(cli, table, tmp_path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    train(cli, copy, tmp_path / "run", "--max-epochs", 1)
    copy.unlink()
    assert "nothing to resume" in cli("train", "-o", tmp_path / "run", "--resume").stderr


def test_a_run_of_a_constant_learning_rate_is_made_longer(cli, table, tmp_path):
    steady = ("--schedule", "constant")
    for name, epochs in (("run", 2), ("whole", 4)):
        train(cli, table, tmp_path / name, *steady, "--max-epochs", epochs)
    cli("train", "-o", tmp_path / "run", "--resume", "--max-epochs", 4, "-q")
    X = pd.read_csv(table)[["height", "weight", "age"]]
    longer, whole = (lowerbound.load(tmp_path / name) for name in ("run", "whole"))
    assert longer.n_iter_ == 4
    np.testing.assert_array_equal(longer.score_samples(X), whole.score_samples(X))
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["max_epochs"] == 4
    assert "nothing to resume" in cli("train", "-o", tmp_path / "run", "--resume").stderr


def test_streamed_files_that_were_changed_are_refused(cli, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(9000, 3)))
    words = ("train", path, "--stream", "-o", tmp_path / "run", *TINY, "--max-epochs", 1, "--batch-size", 1000, "-q")
    cli(*words)
    record = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert {"sha256", "files", "changed"} <= record.keys()
    os.utime(path, (1, 1))
    assert "were changed after" in cli(*words, "--resume", exit_code=1).stderr


@pytest.mark.parametrize("name", ["generate", "encode"])
def test_a_folder_without_permission_is_refused_before_any_work(cli, table_run, table, tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    data = {"generate": (), "encode": (table, *TABLE_OPTIONS)}[name]
    result = cli(name, table_run, *data, "-o", tmp_path / "x.csv", exit_code=1)
    assert "you have no permission to write into" in result.stderr


def test_an_upgrade_that_was_killed_between_its_files_is_given_again(cli, tmp_path):
    old = 'hidden_layer_sizes = [8]\n[data]\nsource = "digits"\n'
    for name in ("old.toml", "old.toml.before"):
        (tmp_path / name).write_text(old)
    cli("config", "upgrade", tmp_path / "old.toml")
    assert (tmp_path / "old.toml.before").read_text() == old
    assert "network" in (tmp_path / "old.toml").read_text()
