"""Checkpoints of a fit: a folder from which it goes on as if it had never been stopped."""

import numpy as np
import pytest
import torch

from lowerbound import MLP, VAE
from lowerbound.storage.atomic import SavedFileError
from lowerbound.storage.locks import LOCK, FolderInUseError
from lowerbound.training.checkpoints import Checkpoints
from lowerbound.training.watch import Watch

X = np.random.default_rng(0).normal(size=(90, 4)) @ np.random.default_rng(1).normal(size=(4, 4))


def vae(**parameters):
    return VAE(**{"latent_dim": 2, "max_epochs": 4, "random_state": 0, "network": MLP((8,)), **parameters})


class PowerCut(Watch):
    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.progress.objective.step == self.step:
            raise RuntimeError("power cut")


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.model_.parameters()).detach()


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(Checkpoints.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr("lowerbound.training.checkpoints.PART", float("inf"))


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_goes_on_from_its_folder(tmp_path, often, early_stopping):
    whole = vae(early_stopping=early_stopping).fit(X)
    for step in (3, 8, 15):
        with pytest.raises(RuntimeError, match="power cut"):
            vae(early_stopping=early_stopping).fit(X, checkpoint=tmp_path / "run", watch=PowerCut(step))
    rest = vae(early_stopping=early_stopping).fit(X, checkpoint=tmp_path / "run")
    assert torch.equal(weights(whole), weights(rest))
    assert [r["elbo"] for r in rest.history_] == [r["elbo"] for r in whole.history_]
    again = vae(early_stopping=early_stopping).fit(X, checkpoint=tmp_path / "run")  # which is finished
    assert torch.equal(weights(whole), weights(again))


def test_one_fit_at_a_time_writes_to_a_folder(tmp_path):
    class Rival(Watch):
        def on_step(self, training):
            vae().fit(X, checkpoint=tmp_path / "run")

    with pytest.raises(FolderInUseError, match="run is in use: another process trains there"):
        vae().fit(X, checkpoint=tmp_path / "run", watch=Rival())
    vae().fit(X, checkpoint=tmp_path / "run")  # the lock has gone with the fit that had it
    assert not (tmp_path / "run" / LOCK).exists()


def test_only_the_best_is_kept_beside_the_last(tmp_path, often):
    model = vae(max_epochs=6).fit(X, checkpoint=tmp_path)
    best = max(model.history_, key=lambda record: record["validation_elbo"])["epoch"]
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", f"best-{best}.safetensors"}
    (tmp_path / f"best-{best}.safetensors").unlink()
    with pytest.raises(SavedFileError, match="doesn't exist: copy it back if you can; else remove"):
        vae(max_epochs=6).fit(X, checkpoint=tmp_path)


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path, often, monkeypatch):
    with pytest.raises(RuntimeError, match="power cut"):
        vae().fit(X, checkpoint=tmp_path, watch=PowerCut(5))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: .*last\.safetensors"):
            vae().fit(X, checkpoint=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NotADirectoryError, match="file is a file; checkpoints are kept in a folder of their own"):
        vae().fit(X, checkpoint=tmp_path / "file")
    with pytest.raises(TypeError, match="checkpoint must be the path of a folder, got 5"):
        vae().fit(X, checkpoint=5)
