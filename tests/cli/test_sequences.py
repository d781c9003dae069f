"""Sequences on the command line: from a file to a model, its scores, draws and codes."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.cli.test_train import same

import lowerbound
from lowerbound.cli.sequence_latents import brought

SMALL = ("--model", "recurrent", "--hidden-size", "8", "--batch-size", "16", "--lr", "0.01", "--random-state", "0")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Forty songs of eleven keys, which sound together in pairs, packed."""
    path = tmp_path_factory.mktemp("music") / "songs.npz"
    lengths = RNG.integers(4, 12, 40)
    steps = np.zeros((lengths.sum(), 11), np.uint8)
    steps[:, 2:6] = RNG.integers(2, size=(len(steps), 2)).repeat(2, 1)
    np.savez(path, train=np.packbits(steps, axis=1), train_len=lengths, rows=steps)
    return path


@pytest.fixture(scope="module")
def reading():
    return ("--key", "train", "--bits", "11")


@pytest.fixture(scope="module")
def runs(cli, music, reading, tmp_path_factory):
    """A run with latent variables, and one without."""
    folder = tmp_path_factory.mktemp("runs")
    for name, D in (("z", 2), ("exact", 0)):
        words = ("train", music, *reading, *SMALL, "--latent-dim", D, "--max-epochs", 3, "-o", folder / name)
        cli(*words, "--objective.free-bits", "0.1") if D else cli(*words)
    return {"z": folder / "z", "exact": folder / "exact"}


def test_data_check_describes_them_and_proposes_a_command(cli, music, reading):
    found = cli("data", "check", music, *reading)
    assert "sequences   40" in found.stdout
    assert "11 columns, uint8" in found.stdout
    assert f"next: lowerbound train {music} --key train --bits 11 --model recurrent -o runs/songs" in found.stderr
    record = json.loads(cli("data", "check", music, *reading, "--json").stdout)
    assert (record["sequences"], record["columns"], record["likelihood"]) == (40, 11, "bernoulli")
    assert "--bits 16" in cli("data", "check", music, "--key", "train").stdout


def test_data_check_describes_text(cli, tmp_path):
    (tmp_path / "a.txt").write_text("anna\n\nbo\nanna\n")
    found = cli("data", "check", tmp_path / "a.txt").stdout
    assert "sequences   3" in found
    assert "different   2" in found
    assert "4: 'anbo'" in found
    assert "1 blank line left out" in found


def test_training_says_what_it_trains_on(cli, music, reading, tmp_path):
    words = ("train", music, *reading, *SMALL, "--latent-dim", 0, "--max-epochs", 1)
    told = cli(*words, "-o", tmp_path / "run").stderr
    assert "songs.npz[train]: 40 sequences of 4 to 11 steps" in told
    assert "36 sequences to train on, 4 held out" in told
    assert "held-out log p(x)" in told
    assert "nats a sequence in epoch 1" in told
    tried = cli(*words, "--dry-run").stdout
    assert "nats a sequence, untrained" in tried
    record = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert (record["shape"][0], len(record["sha256"])) == (40, 64)


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_an_interrupted_run_continues_bit_by_bit(cli, music, reading, tmp_path):
    words = (music, *reading, *SMALL, "--latent-dim", 2, "--optimizer.schedule", "constant")
    cli("train", *words, "--max-epochs", 4, "-o", tmp_path / "whole")
    cli("train", *words, "--max-epochs", 2, "-o", tmp_path / "cut", "--checkpoint-seconds", 0)
    cli("train", "-o", tmp_path / "cut", "--resume", "--max-epochs", 4)
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_other_data_are_not_continued_with(cli, music, runs, tmp_path):
    other = tmp_path / "songs.npz"
    np.savez(other, train=np.zeros((5, 2), np.uint8), train_len=[2, 3])
    found = cli("train", other, "-o", runs["z"], "--resume", exit_code=1)
    assert "was trained on other data" in found.stderr


def test_evaluate_gives_nats_a_sequence_and_a_step(cli, music, runs):
    record = json.loads(cli("evaluate", runs["z"], music, "--key", "train", "--n-importance", 20, "--json").stdout)
    model, X = lowerbound.load(runs["z"]), lowerbound.read(music, key="train", bits=11).X
    assert record["log_likelihood"]["mean"] == pytest.approx(model.log_likelihood(X, 20).value)
    assert record["log_likelihood"]["n_steps"] == len(X.steps)
    assert record["kl_per_step"] > 0
    assert record["active_units"] == model.elbo_terms(X).active_units
    exact = cli("evaluate", runs["exact"], music, "--key", "train")
    assert "a sequence  (exact)" in exact.stdout
    assert "KL" not in exact.stdout
    assert "was trained on these rows" in exact.stderr
    found = cli("evaluate", runs["exact"], music, "--key", "train", "--method", "ais", exit_code=2)
    assert "--method is for models of rows" in found.stderr


def test_two_models_are_compared_on_the_same_sequences(cli, music, runs):
    words = ("evaluate", runs["z"], runs["exact"], music, "--key", "train", "--n-importance", 20)
    record = json.loads(cli(*words, "--json").stdout)
    X = lowerbound.read(music, key="train", bits=11).X
    a, b = (found["mean"] for found in record["log_likelihood"])
    assert record["difference"]["mean"] == pytest.approx(a - b)
    assert record["difference_per_step"] == pytest.approx((a - b) * len(X) / len(X.steps))
    shown = cli(*words).stdout
    assert "the difference is paired" in shown
    assert f"KL of {runs['z']}" in shown
    assert f"{runs['z']} − {runs['exact']}, the same decoder without z)" in shown
    swapped = json.loads(cli("evaluate", runs["exact"], runs["z"], *words[3:], "--json").stdout)
    for each in (record, swapped):  # with z less without, whichever comes first
        assert each["z_brings"]["mean"] == pytest.approx(a - b)
        assert (each["z_brings"]["with"], each["z_brings"]["kind"]) == (str(runs["z"]), "lower")
    assert [bool(each) for each in record["latents"]] == [True, False]


def test_what_z_brings_is_said_of_the_same_decoder_alone():
    with_z, without = lowerbound.RecurrentVAE(2), lowerbound.RecurrentVAE(0)
    difference = lowerbound.Estimate(1.0, 0.5, "estimate", 3)
    assert brought({"a": with_z, "b": without}, difference)["z_brings"]["mean"] == 1
    assert brought({"a": without, "b": with_z}, difference)["z_brings"]["mean"] == -1
    assert brought({"a": with_z, "b": lowerbound.RecurrentVAE(0, hidden_size=5)}, difference) == {}
    assert brought({"a": with_z, "b": with_z}, difference) == {}


def test_draws_are_written_as_the_data_were(cli, runs, tmp_path):
    words = ("generate", runs["z"], "-n", 3, "--steps", 5, "--seed", 1, "-o")
    cli(*words, tmp_path / "a.npz")
    found, model = lowerbound.read(tmp_path / "a.npz", bits=11).X, lowerbound.load(runs["z"])
    np.testing.assert_array_equal(found.steps, np.concatenate(model.sample(3, lengths=5, random_state=1)))
    cli("evaluate", runs["z"], tmp_path / "a.npz", "--n-importance", 5)
    cli(*words, tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns[:3]) == ["sequence", "step", "x0"]
    np.testing.assert_array_equal(table.iloc[:, 2:], found.steps)
    told = cli("generate", runs["z"], "-n", 2, "-o", tmp_path / "b.npz").stderr
    assert "by the mean length of the training sequences" in told


def test_a_sequence_of_a_file_is_continued(cli, music, runs, tmp_path):
    words = ("--prompt", music, "--key", "train", "--row", 3, "--prompt-steps", 4, "--steps", 2, "--seed", 1)
    cli("generate", runs["z"], "-n", 2, *words, "-o", tmp_path / "a.npz")
    prompt = list(lowerbound.read(music, key="train", bits=11).X)[3][:4]
    wanted = lowerbound.load(runs["z"]).sample(2, lengths=2, prompt=prompt, random_state=1)
    np.testing.assert_array_equal(lowerbound.read(tmp_path / "a.npz", bits=11).X.steps, np.concatenate(wanted))
    cli("generate", runs["z"], "-n", 2, *words, "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    found = cli(
        "generate", runs["z"], "--prompt", music, "--key", "train", "--row", 40, "-o", tmp_path / "c.npz", exit_code=1
    )
    assert "has 40 sequences, so there is no --row 40" in found.stderr


def test_codes_of_every_step(cli, music, runs, tmp_path):
    cli("encode", runs["z"], music, "--key", "train", "-o", tmp_path / "codes.csv")
    table = pd.read_csv(tmp_path / "codes.csv")
    X = lowerbound.read(music, key="train", bits=11).X
    codes = np.concatenate(lowerbound.load(runs["z"]).transform(X))
    np.testing.assert_allclose(table[["z0", "z1"]], codes, rtol=1e-6)
    np.testing.assert_array_equal(np.bincount(table["sequence"]), X.lengths)
    found = cli("encode", runs["exact"], music, "--key", "train", "-o", tmp_path / "no.csv", exit_code=1)
    assert "no latent variables" in found.stderr


def test_one_z_of_whole_sequences(cli, music, reading, tmp_path):
    words = ("--latents", "sequence", "--latent-dim", 2, "--max-epochs", 3, "-o", tmp_path / "run")
    cli("train", music, *reading, *SMALL, *words)
    cli("encode", tmp_path / "run", music, "--key", "train", "-o", tmp_path / "codes.csv")
    table, model = pd.read_csv(tmp_path / "codes.csv"), lowerbound.load(tmp_path / "run")
    X = lowerbound.read(music, key="train", bits=11).X
    np.testing.assert_allclose(table[["z0", "z1"]], model.transform(X), rtol=1e-6)
    assert table["sequence"].tolist() == list(range(40))
    cli("encode", tmp_path / "run", music, "--key", "train", "-o", tmp_path / "codes.npy")
    assert np.load(tmp_path / "codes.npy").shape == (40, 2)
    cli("reconstruct", tmp_path / "run", music, "--key", "train", "-o", tmp_path / "made.csv")
    made = pd.read_csv(tmp_path / "made.csv").iloc[:, 2:]
    np.testing.assert_allclose(made, np.concatenate(model.reconstruct(X)), rtol=1e-5)
    asked = ("evaluate", tmp_path / "run", music, "--key", "train", "--n-importance", 20)
    record, said = json.loads(cli(*asked, "--json").stdout), cli(*asked).stdout
    assert record["kl_per_sequence"] == pytest.approx(float(model.elbo_terms(X).kl.sum()) / 40)
    assert "20 importance samples a sequence" in said
    assert "I(x; z)" in said


def test_a_large_array_of_an_archive_stays_there(tmp_path, monkeypatch, cli):
    monkeypatch.setattr("lowerbound.data.readers.arrays.IN_MEMORY", 100)
    lengths = RNG.integers(1, 9, 60)
    steps = np.where(RNG.random((lengths.sum(), 3)) < 0.1, np.nan, RNG.normal(size=(lengths.sum(), 3)))
    for name, save in (("plain", np.savez), ("packed", np.savez_compressed)):
        save(tmp_path / f"{name}.npz", other=np.zeros(3), x=steps, x_len=lengths)
    plain, packed = (lowerbound.read(tmp_path / f"{name}.npz", key="x").X for name in ("plain", "packed"))
    assert (plain.is_streamed, packed.is_streamed) == (True, False)
    np.testing.assert_array_equal(np.ma.filled(np.ma.concatenate(list(plain)), np.nan), steps)
    run = tmp_path / "run"
    words = ("--model", "recurrent", "--hidden-size", 4, "--latent-dim", 2, "--max-epochs", 1, "--seed", 0)
    cli("train", tmp_path / "plain.npz", "--key", "x", *words, "-o", run)
    model = lowerbound.load(run)
    np.testing.assert_array_equal(model.score_samples(plain), model.score_samples(packed))
    assert (
        f"{np.isnan(steps).sum():,} of the values" in cli("data", "check", tmp_path / "plain.npz", "--key", "x").stdout
    )
    for command in ("evaluate", "report"):
        cli(
            command,
            run,
            tmp_path / "plain.npz",
            "--key",
            "x",
            *(("-o", tmp_path / "r.html") if command == "report" else ()),
        )
    cli("encode", run, tmp_path / "plain.npz", "--key", "x", "-o", tmp_path / "codes.csv")
    cli("outliers", run, tmp_path / "plain.npz", "--key", "x", "-o", tmp_path / "outliers.csv")
    found = cli("impute", run, tmp_path / "plain.npz", "--key", "x", "-o", tmp_path / "filled.npz")
    assert "steps into memory, which this needs" in found.stderr
    assert not np.isnan(np.load(tmp_path / "filled.npz")["x"]).any()
    cli("forecast", run, tmp_path / "plain.npz", "--key", "x", "--steps", 2, "-o", tmp_path / "next.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "{music}", "--key", "train"), "--model recurrent"),
        (("train", "{music}", "--key", "train", "--model", "mixture"), "--model recurrent"),
        (("train", "digits", "--model", "recurrent"), "rows of a table or images"),
        (("evaluate", "{run}", "digits"), "takes sequences of numbers"),
        (("chat", "{run}"), "no model of sequences can; recurrent works with generate, evaluate, encode, reconstruct"),
        (("traverse", "{run}", "-o", "a.png"), "can't use"),
    ],
)
def test_what_does_not_fit_is_a_sentence(cli, music, runs, tmp_path, words, message):
    words = [word.format(music=music, run=runs["z"]) for word in words]
    output = ("-o", tmp_path / "run") if words[0] == "train" else ()
    assert message in cli(*words, *output, exit_code=1).stderr


def test_flags_of_sequences_are_refused_for_rows(cli, table_run, tmp_path):
    found = cli("generate", table_run, "--steps", 3, "-o", tmp_path / "a.csv", exit_code=2)
    assert "--steps: that is for models of sequences" in " ".join(found.stderr.split())
    assert "must end in" in cli("generate", table_run, "-o", tmp_path / "a.npz", exit_code=2).stderr
