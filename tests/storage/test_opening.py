"""Whatever a name leads to, opening it ends: pipes, devices, endless files, links and folders are named."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowerbound import load
from lowerbound.cli.config import read_file
from lowerbound.cli.model_flags import named_model
from lowerbound.cli.output import Failure
from lowerbound.cli.run import Run
from lowerbound.data.checks import DataError
from lowerbound.data.columns.schema import columns_given
from lowerbound.data.readers.read import read
from lowerbound.storage import opening
from lowerbound.storage.atomic import SavedFileError, save_folder
from lowerbound.storage.locks import locked
from lowerbound.training.checkpoints import Checkpoints

MODEL = Path(__file__).parents[1] / "fixtures" / "saved-v3" / "vae"


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def dangling(path):
    path.symlink_to(path.with_name("gone"))


def circle(path):
    path.symlink_to(path)


def folder(path):
    path.mkdir()


STRANGE = [pipe, device, dangling, circle, folder]
SAID = "neither a file nor a folder|doesn't exist|can't be read|is a folder"


def in_time(use):
    """The exception that ``use`` raises, or its result; fails where it waits."""
    found = []

    def run():
        try:
            found.append(use())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert found, "it waits"
    return found[0]


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize(
    ("name", "use", "kind"),
    [
        ("config.toml", lambda path: read_file(path), Failure),
        ("columns.json", lambda path: columns_given(path), DataError),
        ("last.safetensors", lambda path: opening.read_bytes(path, SavedFileError), SavedFileError),
        ("model.json", lambda path: load(path.parent), SavedFileError),
    ],
)
def test_what_is_no_file_is_named(tmp_path, make, name, use, kind):
    make(tmp_path / name)
    error = in_time(lambda: use(tmp_path / name))
    assert type(error) is kind
    assert any(word in str(error) for word in (*SAID.split("|"), "holds no saved model"))


@pytest.mark.parametrize("make", STRANGE)
def test_what_is_read_if_it_is_there_is_left_out(tmp_path, make):
    make(tmp_path / "environment.json")
    make(tmp_path / "config.toml")
    assert in_time(lambda: Run(tmp_path).read_environment()) == {}
    assert in_time(lambda: named_model(["-c", str(tmp_path / "config.toml")])) == "vae"


def test_weights_and_locks_and_checkpoints(tmp_path):
    save_folder(tmp_path, {}, {"class": "VAE"})
    record = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / record["weights"]).unlink()
    pipe(tmp_path / record["weights"])
    assert "aren't there" in str(in_time(lambda: load(tmp_path)))
    pipe(tmp_path / "last.safetensors")
    assert isinstance(in_time(Checkpoints(tmp_path).load), SavedFileError)
    pipe(tmp_path / ".lock")
    assert "neither a file nor a folder" in str(in_time(lambda: locked(tmp_path).__enter__()))


@pytest.mark.parametrize(("make", "said"), [(dangling, "is a link to a file that doesn't exist"), (pipe, "neither")])
@pytest.mark.parametrize("kind", ["png", "parquet"])
def test_a_part_of_a_folder_that_is_missing_is_named(tmp_path, make, said, kind):
    import pandas as pd

    for name in ("a", "c"):
        if kind == "png":
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
        else:
            pd.DataFrame({"x": [1.0, 2.0]}).to_parquet(tmp_path / f"{name}.parquet")
    make(tmp_path / f"b.{kind}")
    error = in_time(lambda: read(tmp_path))
    assert isinstance(error, DataError)
    assert f"{tmp_path.name}/b.{kind} " in str(error)
    assert said in str(error)


def test_a_file_is_read_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MOST_TOML", 100)
    (tmp_path / "config.toml").write_text("# " + "x" * 200)
    with pytest.raises(Failure, match="too large: at most 100 bytes"):
        read_file(tmp_path / "config.toml")


@pytest.mark.parametrize("text", ["x = " + "[" * 50_000, "x." * 30_000 + "x = 1", "[" + "a." * 30_000 + "a]\n"])
def test_deep_toml_is_named(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(Failure, match="isn't TOML"):
        read_file(tmp_path / "config.toml")


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "mlp", "hidden_layer_sizes": [30_000, 30_000], "activation": "silu"},  # 3.6 GB
        {"kind": "mlp", "hidden_layer_sizes": [1] * 100_000, "activation": "silu"},  # minutes
        {"kind": "mlp", "hidden_layer_sizes": [10**12], "activation": "silu"},
    ],
)
def test_a_model_takes_no_more_than_its_weights(tmp_path, network):
    import resource
    import time

    record = json.loads((MODEL / "model.json").read_text())
    record["parameters"]["network"] = network
    (tmp_path / "model.json").write_text(json.dumps(record))
    (tmp_path / record["weights"]).write_bytes((MODEL / record["weights"]).read_bytes())
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(SavedFileError, match="doesn't fit"):
        load(tmp_path)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kB


def test_a_mapped_file_that_is_cut_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.data.readers.arrays.IN_MEMORY", 0)
    rows = np.asfortranarray(np.zeros((50_000, 3)))
    np.save(tmp_path / "rows.npy", rows)
    source = read(tmp_path / "rows.npy", stream=True).X
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match="has changed while it was read"):
        source.spread(3)
