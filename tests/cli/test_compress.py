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


def test_a_table_comes_back_and_what_is_not_in_the_file_is_said(cli, tmp_path):
    rng, n = np.random.default_rng(0), 60
    flag = np.where(rng.random(n) < 0.2, None, rng.random(n) < 0.5)
    table = pd.DataFrame(
        {"name": [f"r{i}" for i in range(n)], "flag": flag, "x": rng.integers(0, 9, n) / 10, "k": ["a"] * n}
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    cli("train", tmp_path / "t.csv", "--id", "name", "-o", tmp_path / "run", "--max-epochs", 1, "--latent-dim", 1)
    said = cli("compress", tmp_path / "run", tmp_path / "t.csv", "-o", tmp_path / "t.lb").stderr
    assert "not in the file: the names of the rows (name)" in said
    cli("decompress", tmp_path / "run", tmp_path / "t.lb", "-o", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == table.drop(columns="name").to_csv(index=False)


SMALL = ("--hidden-size", 6, "--latent-dim", 0, "--max-epochs", 2, "--random-state", 0)


@pytest.fixture(scope="module")
def names(cli, tmp_path_factory):
    """A text file with blank lines and ends of two kinds, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "names.txt").write_bytes(b"anna\r\notto\r\n\r\n" * 20 + b"ottilie\nann")
    cli("train", folder / "names.txt", "--model", "sequence", *SMALL, "-o", folder / "run")
    return folder / "names.txt", folder / "run"


def test_a_text_file_comes_back_byte_for_byte(cli, names, tmp_path):
    text, run = names
    beside = cli("compress", run, text, "-o", text.with_suffix(".lb"))
    assert f"-o {text.with_name('names-again.txt')}" in beside.stderr
    result = cli("compress", run, text, "-o", tmp_path / "x.lb")
    assert "bits a text" in result.stdout
    assert f"decompress {run} {tmp_path / 'x.lb'} -o {tmp_path / 'x.txt'}" in result.stderr
    cli("decompress", run, tmp_path / "x.lb", "-o", tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_bytes() == text.read_bytes()
    result = cli("decompress", run, tmp_path / "x.lb", "-o", tmp_path / "x.csv", exit_code=2)
    assert "must end in .txt" in result.stderr


def test_texts_and_what_others_take(cli, names, tmp_path):
    text, run = names
    (tmp_path / "x.jsonl").write_text('{"text": "otto"}\n{"text": "an\\nna"}\n')
    cli("compress", run, tmp_path / "x.jsonl", "-o", tmp_path / "x.lb")
    cli("decompress", run, tmp_path / "x.lb", "-o", tmp_path / "y.jsonl")
    assert (tmp_path / "x.jsonl").read_text() == (tmp_path / "y.jsonl").read_text()
    record = json.loads(cli("compress", run, text, "--estimate", "--json").stdout)
    assert {"this model", "zstd −19", "xz −9e", "bzip2 −9"} == set(record["bytes"])


def test_sequences_come_back_packed_as_they_were(cli, tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 6, 12)
    steps = np.packbits(rng.integers(0, 2, (lengths.sum(), 11), np.uint8), axis=1)
    np.savez(tmp_path / "songs.npz", x=steps, x_len=lengths)
    words = ("--key", "x", "--bits", 11, "--model", "recurrent", *SMALL)
    cli("train", tmp_path / "songs.npz", *words, "-o", tmp_path / "run")
    cli("compress", tmp_path / "run", tmp_path / "songs.npz", "--key", "x", "-o", tmp_path / "x.lb")
    cli("decompress", tmp_path / "run", tmp_path / "x.lb", "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as again:
        np.testing.assert_array_equal(again["x"], steps)
        np.testing.assert_array_equal(again["x_len"], lengths)
    words = ("compress", tmp_path / "run", tmp_path / "songs.npz", "--key", "x", "--estimate", "--json")
    assert json.loads(cli(*words).stdout)["rows"] == 12


def test_a_table_of_series_comes_back_with_its_names_and_times(cli, tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 6, 12)
    times = np.concatenate([pd.date_range("2024-01-01", periods=n, freq="h") for n in lengths])
    names = np.repeat([f"s{i}" for i in range(12)], lengths)
    table = pd.DataFrame({"sensor": names, "time": times, "t": rng.normal(size=len(names)).round(1)})
    table.assign(state=rng.choice(["on", "off"], len(names))).to_csv(tmp_path / "x.csv", index=False)
    words = ("--id", "sensor", "--time", "time", "--model", "recurrent", *SMALL)
    cli("train", tmp_path / "x.csv", *words, "-o", tmp_path / "run")
    result = cli("compress", tmp_path / "run", tmp_path / "x.csv", "-o", tmp_path / "y.lb")
    assert "y.csv" in result.stderr
    cli("decompress", tmp_path / "run", tmp_path / "y.lb", "-o", tmp_path / "y.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "y.csv"), pd.read_csv(tmp_path / "x.csv"))


def test_a_file_or_an_estimate_is_asked_for(cli, digits_run, images):
    result = cli("compress", digits_run, images, "--key", "x", exit_code=2)
    assert "--estimate" in result.stderr


def test_rows_given_a_context_come_back_with_it(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    np.savez("data.npz", x=(rng.random((60, 6)) < 0.2 + 0.3 * y[:, None]).astype(np.uint8), y=y)
    given = ("--given", "y")
    cli("train", "data.npz", "--key", "x", *given, "-o", "run", "--max-epochs", 1, "--latent-dim", 2)
    said = cli("compress", "run", "data.npz", "--key", "x", *given, "-o", "x.lb")
    assert "decompress run x.lb --context data.npz --given y -o" in said.output
    cli("decompress", "run", "x.lb", "--context", "data.npz", *given, "-o", "x.npy")
    np.testing.assert_array_equal(np.load("x.npy"), np.load("data.npz")["x"])
    assert "--context DATA" in cli("decompress", "run", "x.lb", "-o", "y.npy", exit_code=1).output
    np.savez("other.npz", x=np.zeros((60, 6), np.uint8), y=(y + 1) % 3)
    failed = cli("decompress", "run", "x.lb", "--context", "other.npz", *given, "-o", "y.npy", exit_code=1)
    assert "another context" in failed.output
    assert not (tmp_path / "y.npy").exists()
