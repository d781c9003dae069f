"""Compressing and decompressing on the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.cli.conftest import TABLE_OPTIONS

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")


def test_images_come_back(cli, digits_run, images, tmp_path):
    result = cli("compress", digits_run, images, "--key", "x", "-o", tmp_path / "x.lb", "--json")
    record = json.loads(result.stdout)
    assert record["bytes"] == (tmp_path / "x.lb").stat().st_size
    cli("decompress", digits_run, tmp_path / "x.lb", "-o", tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.load(images)["x"])


def test_a_file_with_its_model_needs_no_run(cli, digits_run, images, tmp_path):
    result = cli("compress", digits_run, images, "--key", "x", "-o", tmp_path / "x.lb", "--with-model")
    assert "precision" in result.stdout
    cli("decompress", tmp_path / "x.lb", "-o", tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.load(images)["x"])


def test_an_estimate_writes_nothing_and_compares(cli, digits_run, images, tmp_path):
    record = json.loads(cli("compress", digits_run, images, "--key", "x", "--estimate", "--json").stdout)
    assert {"this model", "zstd −19", "xz −9e", "bzip2 −9", "PNG", "WebP"} == set(record["bytes"])
    assert all(size > 0 for size in record["bytes"].values())
    assert not list(tmp_path.glob("*.lb"))


def test_real_values_need_decimals(cli, table_run, other_table, tmp_path):
    result = cli("compress", table_run, other_table, *TABLE_OPTIONS, "-o", tmp_path / "x.lb", exit_code=1)
    assert "--decimals" in result.stderr
    words = ("--decimals", 6, "-o", tmp_path / "x.lb")
    cli("compress", table_run, other_table, *TABLE_OPTIONS, *words)
    cli("decompress", table_run, tmp_path / "x.lb", "-o", tmp_path / "x.csv")
    columns = ["height", "weight", "age"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv")[columns], pd.read_csv(other_table)[columns])


def test_a_file_or_an_estimate_is_asked_for(cli, digits_run, images):
    result = cli("compress", digits_run, images, "--key", "x", exit_code=2)
    assert "--estimate" in result.stderr
