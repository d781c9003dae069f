"""Training a run: what the folder holds, refusals, stopping and continuing."""

import json
import os
import signal
import sys
import tomllib

import pytest
import torch
from tests.cli.conftest import TABLE_OPTIONS, TINY

import lowerbound
from lowerbound.cli.watch import RunWatch
from lowerbound.training import checkpoints
from lowerbound.training.checkpoints import Checkpoints

KEYS = ["epoch", "step", "elbo", "reconstruction", "kl", "validation_elbo", "n_skipped", "seconds"]


def records(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def weights(run):
    return {
        name: tensor for part in lowerbound.load(run)._modules().values() for name, tensor in part.state_dict().items()
    }


def same(first, second):
    """The same weights to the last bit, and the same history but for the time it took."""
    a, b = weights(first), weights(second)
    untimed = [[{**record, "seconds": 0} for record in records(run)] for run in (first, second)]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and untimed[0] == untimed[1]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def after(monkeypatch):
    """Let something happen after a certain epoch."""

    def arrange(epoch, happens):
        on_epoch = RunWatch.on_epoch

        def then(self, training, record):
            on_epoch(self, training, record)
            if record["epoch"] == epoch:
                happens()

        monkeypatch.setattr(RunWatch, "on_epoch", then)
        return lambda: monkeypatch.setattr(RunWatch, "on_epoch", on_epoch)

    return arrange


@pytest.fixture
def at_step(monkeypatch):
    """Let something happen after a certain step."""

    def arrange(step, happens):
        on_step = RunWatch.on_step

        def then(self, training):
            on_step(self, training)
            if training.progress.objective.step == step:
                happens()

        monkeypatch.setattr(RunWatch, "on_step", then)
        return lambda: monkeypatch.setattr(RunWatch, "on_step", on_step)

    return arrange


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def power_cut():
    raise RuntimeError("power cut")


# what the folder holds


def test_the_run_holds_everything(digits_run):
    held = {path.name for path in digits_run.iterdir()}
    assert held == {"config.toml", "environment.json", "history.jsonl", "checkpoint", "model"}


def test_the_configuration_is_complete(table_run, table):
    config = tomllib.loads((table_run / "config.toml").read_text())
    assert config["data"] == {"source": str(table), "drop": ["id"], "label": "class", "missing": []}
    model = lowerbound.load(table_run)
    unwritten = {name for name, value in model.get_params(deep=False).items() if value is None}
    assert set(config) - {"model", "data", "chosen"} == set(model.get_params(deep=False)) - unwritten - {"verbose"}
    assert config["chosen"] == {
        "likelihood": "gaussian", "layout": "features", "network": "mlp", "latent_dim": 3, "batch_size": 16,
        "max_epochs": 3, "device": "cpu",
    }  # fmt: skip


def test_the_environment_is_recorded(digits_run):
    record = json.loads((digits_run / "environment.json").read_text())
    assert record["seed"] == 0
    assert record["command"].startswith("lowerbound train digits -o")
    assert record["versions"]["torch"] == torch.__version__
    assert {"python", "lowerbound", "numpy", "scikit-learn"} <= set(record["versions"])
    assert record["data"]["shape"] == [1797, 8, 8]


def test_the_history_has_one_record_an_epoch(digits_run):
    found = records(digits_run)
    assert [list(record) for record in found] == [KEYS, KEYS]
    assert [record["epoch"] for record in found] == [1, 2]
    assert all(record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"]) for record in found)
    assert found == lowerbound.load(digits_run).history_


def test_load_takes_the_run_and_its_model(digits_run):
    assert lowerbound.load(digits_run).latent_dim_ == lowerbound.load(digits_run / "model").latent_dim_ == 3


def test_the_history_grows_while_it_trains(cli, tmp_path, after):
    seen = []
    after(1, lambda: seen.extend(records(tmp_path / "run")))
    cli("train", "digits", "-o", tmp_path / "run", "--max-epochs", 2, *TINY, "-q")
    assert [record["epoch"] for record in seen] == [1]


def test_a_seed_is_drawn_and_kept(cli, table, tmp_path):
    run = tmp_path / "run"
    cli(
        "train",
        table,
        *TABLE_OPTIONS,
        "-o",
        run,
        "--max-epochs",
        1,
        *TINY,
        "-s",
        "random_state=none",
        "--random-state",
        "none",
    )
    seed = json.loads((run / "environment.json").read_text())["seed"]
    assert tomllib.loads((run / "config.toml").read_text())["random_state"] == seed == lowerbound.load(run).seed_


def test_a_run_is_repeated_from_its_configuration(cli, table_run, tmp_path):
    cli("train", "-c", table_run / "config.toml", "-o", tmp_path / "again", "-q")
    assert same(table_run, tmp_path / "again")


# what it says


def test_json_is_one_line_an_epoch(cli, tmp_path):
    result = cli("train", "digits", "-o", tmp_path / "run", "--max-epochs", 2, *TINY, "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == records(tmp_path / "run")
    assert "next:" not in result.stderr


def test_progress_and_what_was_chosen_go_to_stderr(cli, tmp_path):
    result = cli("train", "digits", "-o", tmp_path / "run", "--max-epochs", 2, *TINY)
    assert not result.stdout
    lines = result.stderr.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert "likelihood discretized_logistic, network mlp, latent_dim 3, batch_size 128, max_epochs 2" in result.stderr
    best = max(record["validation_elbo"] for record in records(tmp_path / "run"))
    assert f"held-out ELBO {best:.2f}".replace("-", "−").replace("held−out", "held-out") in result.stderr
    assert lines[-1] == f"next: lowerbound generate {tmp_path / 'run'} -o {tmp_path / 'run' / 'samples.png'}"


def test_quiet_says_nothing(cli, tmp_path):
    result = cli("train", "digits", "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "-q")
    assert not result.output


def test_verbose_shows_networks_and_parameters(cli, tmp_path):
    result = cli("train", "digits", "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "-v")
    assert "MLPEncoder" in result.stderr
    assert 'objective = "elbo"' in result.stderr
    assert "hidden_layer_sizes" in result.stderr


def test_warnings_are_one_line(cli, tmp_path):
    table = tmp_path / "same.csv"
    table.write_text("a,b\n" + "".join(f"{i},7\n" for i in range(30)))
    result = cli("train", table, "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "-q")
    assert "warning: 1 constant feature(s) kept out of the density: b\n" in result.stderr
    assert ".py" not in result.stderr


# the dry run


def test_a_dry_run_writes_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = json.loads(cli("train", "digits", "-o", "run", "--dry-run", "--json", *TINY).stdout)
    assert list(tmp_path.iterdir()) == []
    assert record["shapes"] == {"x": [128, 1, 8, 8], "z": [1, 128, 3]}
    assert record["rows"] == {"training": 1617, "held_out": 180}
    assert record["n_parameters"]["encoder"] == 64 * 8 + 8 + 8 * 6 + 6
    assert record["batch"]["elbo"] == pytest.approx(record["batch"]["reconstruction"] - record["batch"]["kl"])


def test_a_dry_run_in_words(cli):
    result = cli("train", "digits", "--dry-run", *TINY)
    assert 'likelihood = "auto"' in result.stdout
    assert "ELBO −" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("next: lowerbound train digits --hidden-layer-sizes 8")


# nothing is written over


def test_an_existing_run_is_refused(cli, digits_run):
    before = files(digits_run)
    result = cli("train", "digits", "-o", digits_run, *TINY, exit_code=1)
    choices = "choose another folder, or overwrite it with --force, or continue it with --resume"
    assert result.stderr == f"error: {digits_run} exists: {choices}\n"
    assert files(digits_run) == before


def test_an_empty_folder_is_fine_and_a_file_is_not(cli, table, tmp_path):
    (tmp_path / "run").mkdir()
    cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", "--max-epochs", 1, *TINY, "-q")
    (tmp_path / "file").write_text("mine")
    assert "is a file" in cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "file", *TINY, exit_code=1).stderr


def test_force_writes_over_a_run_and_leaves_other_files(cli, table, tmp_path):
    run = tmp_path / "run"
    for seed in (1, 2):
        cli(
            "train", table, *TABLE_OPTIONS, "-o", run, "--max-epochs", 1, *TINY, "--random-state", seed, "-q", "--force"
        )
        (run / "notes.txt").write_text("mine")
    assert lowerbound.load(run).seed_ == 2
    assert len(records(run)) == 1
    assert (run / "notes.txt").read_text() == "mine"


def test_force_takes_the_old_model_and_checkpoint_away(cli, table, tmp_path):
    words = ("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", *TINY, "-q", "--force")
    cli(*words, "--max-epochs", 1)
    cli(*words, "--lr", "1e30", exit_code=1)
    assert {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()} == {
        "config.toml", "environment.json", "history.jsonl",
    }  # fmt: skip


def test_nothing_is_written_when_the_data_or_the_parameters_are_wrong(cli, table, tmp_path):
    for words in (["nothing.csv"], [table, "--drop", "nothing"], [table, *TABLE_OPTIONS, "--network", "conv"]):
        cli("train", *words, "-o", tmp_path / "run", exit_code=1)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_is_a_sentence(cli, table, tmp_path):
    words = ("--lr", "1e30", "--max-epochs", 5, *TINY, "-q")
    result = cli("train", table, *TABLE_OPTIONS, "-o", tmp_path / "run", *words, exit_code=1)
    assert "lower the learning rate" in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run" / "model").exists()


def test_the_last_good_model_is_kept(cli, table, tmp_path, after, monkeypatch):
    run = tmp_path / "run"
    draw = lowerbound.models.vae.LatentModel.draw

    def spoil():
        def spoiled(self, batch, posterior, objective, noise):
            found = draw(self, batch, posterior, objective, noise)
            found.log_px = found.log_px * float("nan")
            return found

        monkeypatch.setattr(lowerbound.models.vae.LatentModel, "draw", spoiled)

    after(2, spoil)
    result = train(cli, table, run, "-q", exit_code=1)
    assert "not finite since step 13 " in result.stderr
    assert "the weights of epoch 2" in result.stderr
    assert lowerbound.load(run).n_iter_ == 2
    assert [record["n_skipped"] for record in records(run)] == [0, 0]


# stopping and continuing


def train(cli, table, run, *words, **keywords):
    return cli("train", table, *TABLE_OPTIONS, "-o", run, "--max-epochs", 5, *TINY, *words, **keywords)


@pytest.fixture(scope="module")
def whole(cli, table, tmp_path_factory):
    """A run that was never interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(cli, table, run, "-q")
    return run


def test_interrupted_after_an_epoch_and_resumed_is_bit_identical(cli, table, tmp_path, whole, after):
    run = tmp_path / "run"
    again = after(2, interrupt)
    result = train(cli, table, run, exit_code=130)
    assert "stopped after epoch 2 of 5" in result.stderr
    assert result.stderr.splitlines()[-1] == f"next: lowerbound train -o {run} --resume"
    assert len(records(run)) == 2
    assert len(lowerbound.load(run).history_) == 2
    again()
    assert "continuing after epoch 2" in cli("train", "-o", run, "--resume").stderr
    assert same(run, whole)
    (resumed,) = json.loads((run / "environment.json").read_text())["resumed"]
    assert resumed["epoch"] == 2


@pytest.mark.parametrize("step", [5, 6, 9])  # 6 a full epoch
def test_cut_off_after_a_checkpoint_and_resumed_is_bit_identical(
    cli, table, tmp_path, whole, after, monkeypatch, step
):  # fmt: skip
    run = tmp_path / "run"

    def save_once(self, training):
        if training.progress.objective.step == step and training.progress.n_batches:
            self.save(training)

    again = after(4, power_cut)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save_if_due", save_once)
        with pytest.raises(RuntimeError, match="power cut"):
            train(cli, table, run)
    assert len(records(run)) == 4
    assert not (run / "model").exists()
    again()
    resumed = train(cli, table, run, "--resume").stderr
    assert f"continuing after {(step - 1) % 6 + 1} batches of epoch {(step - 1) // 6 + 1}" in resumed
    assert [record["epoch"] for record in records(run)] == [1, 2, 3, 4, 5]
    assert same(run, whole)


def test_a_finished_run_is_left_alone(cli, whole):
    before = files(whole)
    result = cli("train", "-o", whole, "--resume")
    assert "is finished, after epoch 5: there is nothing to resume" in result.stderr
    assert files(whole) == before


def test_resuming_without_a_checkpoint_starts_afresh(cli, table, tmp_path, whole):
    run = tmp_path / "run"
    train(cli, table, run, "--resume", "-q")
    assert same(run, whole)


def test_resuming_keeps_a_model_without_a_checkpoint(cli, table, tmp_path):
    run = tmp_path / "run"
    train(cli, table, run, "-q")
    (run / "checkpoint" / "last.safetensors").unlink()
    train(cli, table, run, "--resume", exit_code=1)
    assert (run / "model" / "model.json").exists()


def test_resuming_with_other_parameters_or_data_is_refused(cli, table, other_table, tmp_path, after):
    run = tmp_path / "run"
    again = after(2, interrupt)
    train(cli, table, run, "-q", exit_code=130)
    again()
    result = cli("train", "-o", run, "--resume", "--latent-dim", 2, exit_code=1)
    assert "where latent_dim is 3, not 2" in result.stderr
    result = cli("train", other_table, *TABLE_OPTIONS, "-o", run, "--resume", exit_code=1)
    assert "trained on other data (people.csv of shape (90, 3))" in result.stderr
    last = run / "checkpoint" / "last.safetensors"
    whole = last.read_bytes()
    last.write_bytes(b"damaged")
    assert "last.safetensors is damaged" in cli("train", "-o", run, "--resume", exit_code=1).stderr
    last.write_bytes(whole)
    (run / "checkpoint" / "best-2.safetensors").unlink()
    assert "best-2.safetensors doesn't exist" in cli("train", "-o", run, "--resume", exit_code=1).stderr


def test_a_second_interrupt_ends_at_once(cli, table, tmp_path, after):
    def twice():
        interrupt()
        interrupt()

    before = signal.getsignal(signal.SIGINT)
    after(2, twice)
    result = train(cli, table, tmp_path / "run", exit_code=130)
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert not (tmp_path / "run" / "model").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_within_an_epoch_and_resumed_is_bit_identical(cli, table, tmp_path, whole, at_step):
    run = tmp_path / "run"
    again = at_step(9, interrupt)
    result = train(cli, table, run, exit_code=130)
    assert "stopped after 3 batches of epoch 2 of 5; to continue:" in result.stderr
    assert result.stderr.splitlines()[-1] == f"next: lowerbound train -o {run} --resume"
    assert len(records(run)) == len(lowerbound.load(run).history_) == 1
    again()
    assert "continuing after 3 batches of epoch 2" in cli("train", "-o", run, "--resume").stderr
    assert same(run, whole)


def test_interrupted_in_the_first_epoch_there_is_no_model_yet(cli, table, tmp_path, whole, at_step):
    run = tmp_path / "run"
    again = at_step(2, interrupt)
    train(cli, table, run, "-q", exit_code=130)
    assert not run.joinpath("model").exists()
    assert records(run) == []
    again()
    cli("train", "-o", run, "--resume", "-q")
    assert same(run, whole)


def test_a_model_of_an_interrupted_run_is_not_taken_for_the_finished_one(
    cli, table, tmp_path, whole, at_step, monkeypatch
):
    run = tmp_path / "run"
    again = at_step(9, interrupt)
    train(cli, table, run, "-q", exit_code=130)
    again()
    with monkeypatch.context() as patched:
        patched.setattr(lowerbound.VAE, "save", lambda self, path: power_cut())
        with pytest.raises(RuntimeError, match="power cut"):
            cli("train", "-o", run, "--resume", "-q")
    cli("train", "-o", run, "--resume", "-q")
    assert same(run, whole)


def test_cut_off_before_the_first_checkpoint_the_configuration_is_enough(cli, table, tmp_path, whole, at_step):
    run = tmp_path / "run"
    again = at_step(2, power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        train(cli, table, run)
    assert not (run / "checkpoint").exists()
    again()
    cli("train", "-o", run, "--resume", "-q")
    assert same(run, whole)


def test_what_was_half_written_is_swept_away(cli, table, tmp_path, whole, after):
    run = tmp_path / "run"
    again = after(2, interrupt)
    train(cli, table, run, "-q", exit_code=130)
    again()
    left = [".history.jsonl.abcd_123.jsonl", "checkpoint/.last.safetensors.abcd_123.safetensors"]
    for name in left:
        (run / name).write_bytes(b"half")
    cli("train", "-o", run, "--resume", "-q")
    assert not any((run / name).exists() for name in left)
    assert same(run, whole)


def test_termination_stops_after_the_step_too(cli, table, tmp_path, after):
    after(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    train(cli, table, tmp_path / "run", "-q", exit_code=130)
    assert len(lowerbound.load(tmp_path / "run").history_) == 2


def test_interrupted_in_the_last_epoch_is_finished(cli, table, tmp_path, after, whole):
    after(5, interrupt)
    train(cli, table, tmp_path / "run", "-q")
    assert same(tmp_path / "run", whole)


@pytest.mark.parametrize(("seconds", "written_at"), [(1000, [30]), (0, [*range(1, 31), *range(6, 31, 6)])])
def test_checkpoints_are_as_far_apart_as_asked_for(cli, table, tmp_path, monkeypatch, seconds, written_at):
    steps = []
    save = checkpoints.save_tensors

    def spy(path, tensors, metadata):
        if path.name == "last.safetensors":
            steps.append(metadata["progress"]["objective"]["step"])
        save(path, tensors, metadata)

    monkeypatch.setattr(checkpoints, "save_tensors", spy)
    monkeypatch.setattr(checkpoints, "PART", float("inf"))
    train(cli, table, tmp_path / "run", "-q", "--checkpoint-seconds", seconds)
    assert steps == sorted(written_at)
    names = {path.name for path in (tmp_path / "run" / "checkpoint").iterdir()}
    best = lowerbound.load(tmp_path / "run").history_
    best = max(best, key=lambda record: record["validation_elbo"])["epoch"]
    assert names == {"last.safetensors", f"best-{best}.safetensors"}


@pytest.mark.parametrize("how", ["--resume", "--force"])
def test_one_process_at_a_time_trains_a_run(cli, table, tmp_path, whole, at_step, how):
    run, refused = tmp_path / "run", []
    again = at_step(8, lambda: refused.append(train(cli, table, run, how, exit_code=1).stderr))
    train(cli, table, run, "-q")
    again()
    assert refused == [f"error: {run} is in use: another process trains there; wait for it, or stop it\n"]
    assert same(run, whole)


def test_force_and_resume_exclude_each_other(cli, table, tmp_path):
    assert "give one of them" in train(cli, table, tmp_path / "run", "--force", "--resume", exit_code=2).stderr


def test_tensorboard_has_the_history(cli, table, tmp_path, at_step):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    again = at_step(9, interrupt)
    train(cli, table, run, "--log", "tensorboard", "-q", exit_code=130)
    again()
    cli("train", "-o", run, "--resume", "--log", "tensorboard", "-q")
    events = accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    found = {(tag, e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}
    assert len(records(run)) == 5
    for record in records(run):
        assert found["training/elbo", record["step"]] == pytest.approx(record["elbo"])
        assert found["validation/elbo", record["step"]] == pytest.approx(record["validation_elbo"])
        assert found["progress/rows_per_second", record["step"]] > 0


def test_without_the_package_the_command_to_install_it(cli, table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = train(cli, table, tmp_path / "run", "--log", "tensorboard", exit_code=1)
    assert "pip install 'lowerbound[tensorboard]'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_may_be_called_like_the_digits(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--max-epochs", 1, "--latent-dim", 2, "--random-state", 0)
    cli("train", "digits", "-o", "digits", *words)
    cli("train", "digits", "-o", "digits", *words, "--resume")
    assert 'source = "digits"' in (tmp_path / "digits" / "config.toml").read_text()
    cli("evaluate", "digits", "digits", "--n-importance", 3)
