"""A checkpoint is continued by the same run alone: another is refused, with the names of what differs."""

import copy
import os
from enum import Enum
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import lowerbound
from lowerbound import (
    ELBO,
    MLP,
    VAE,
    Adam,
    Amortized,
    Autoencoder,
    EarlyStopping,
    ExplicitModel,
    GaussianLikelihood,
    Objective,
    PixelRNN,
    VampPrior,
    fit,
)
from lowerbound.data.fingerprint import digest
from lowerbound.training.checkpoints import Checkpoints
from lowerbound.training.identity import described, digest_of
from lowerbound.training.watch import Watch

X = np.random.default_rng(0).normal(size=(90, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
OTHER = X.copy()
OTHER[57, 2] += 1e-3
KINDS = np.repeat(["a", "b", "c"], 30)


def vae(**parameters):
    return VAE(**{"latent_dim": 2, "max_epochs": 2, "random_state": 0, "network": MLP((8,)), **parameters})


def parameters(model):
    return torch.nn.utils.parameters_to_vector(model.model_.parameters()).detach()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of a VAE."""
    folder = tmp_path_factory.mktemp("checkpoint")
    vae().fit(X, checkpoint=folder)
    return folder


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"latent_dim": 3}, "latent_dim"),
        ({"network": MLP((9,))}, "network"),
        ({"network": MLP((8,), "relu")}, "network"),
        ({"likelihood": GaussianLikelihood(min_scale=0.5)}, "likelihood"),
        ({"columns": "auto"}, "columns"),
        ({"layout": "features"}, "layout"),
        ({"posterior": Amortized("full")}, "posterior"),
        ({"posterior": "shared"}, "posterior"),
        ({"prior": VampPrior(3)}, "prior"),
        ({"objective": ELBO(kl_weight=0.5)}, "objective"),
        ({"objective": "iwae"}, "objective"),
        ({"optimizer": Adam(0.1)}, "lr"),
        ({"optimizer": Adam(precision="bfloat16")}, "precision"),
        ({"early_stopping": False}, "early_stopping"),
        ({"early_stopping": EarlyStopping(0.3)}, "early_stopping"),
        ({"early_stopping": EarlyStopping(patience=3)}, "n_iter_no_change, early_stopping"),
        ({"batch_size": 20}, "batch_size"),
        ({"max_epochs": 9}, "max_epochs"),
        ({"random_state": 1}, "random_state"),
    ],
)
def test_other_parameters_are_refused_by_name(folder, other, named):
    with pytest.raises(ValueError, match=f"holds a checkpoint of a run that differs in {named}[,:]"):
        vae(**other).fit(X, checkpoint=folder)


@pytest.mark.parametrize(
    "model", [vae(), PixelRNN(max_epochs=1, random_state=0), Autoencoder(2, max_epochs=1, random_state=0)]
)
def test_other_rows_are_refused(tmp_path, model):
    model.fit(X, checkpoint=tmp_path)
    for rows in (OTHER, X[::-1], X[:-1]):
        with pytest.raises(ValueError, match="differs in X:"):
            model.fit(rows, checkpoint=tmp_path)
    model.fit(X.copy(), checkpoint=tmp_path)


def test_another_context_is_refused(tmp_path):
    vae().fit(X, context=KINDS, checkpoint=tmp_path)
    for context in (None, KINDS[::-1], np.where(KINDS == "a", "d", KINDS)):
        with pytest.raises(ValueError, match="differs in context"):
            vae().fit(X, context=context, checkpoint=tmp_path)
    vae().fit(X, context=pd.Series(KINDS), checkpoint=tmp_path)


def test_other_columns_are_refused(tmp_path):
    table = pd.DataFrame(np.exp(X), columns=list("abcd")).assign(kind=KINDS)
    vae().fit(table, checkpoint=tmp_path)
    vae().fit(table.copy(), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="differs in columns:"):
        vae(columns={"a": "continuous"}).fit(table, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="differs in X"):
        vae().fit(table.assign(kind=KINDS[::-1]), checkpoint=tmp_path)


def test_what_doesnt_change_the_result_may_change(folder):
    whole = vae().fit(X)
    for same in ({"device": "cpu"}, {"warm_start": True}, {"prior": lowerbound.NormalPrior()}, {"optimizer": Adam()}):
        again = vae(**same).fit(X.tolist(), checkpoint=folder)
        assert torch.equal(parameters(again), parameters(whole))


class Stopped(Watch):
    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.progress.objective.step == self.step:
            raise RuntimeError("power cut")


def test_a_run_of_a_constant_learning_rate_may_be_made_longer(tmp_path):
    """Its steps are those of the longer one; those of the cosine schedule are not."""
    steady = {"optimizer": Adam(schedule="constant"), "early_stopping": False}
    vae(**steady).fit(X, checkpoint=tmp_path)
    longer = vae(**steady, max_epochs=5).fit(X, checkpoint=tmp_path)
    assert torch.equal(parameters(longer), parameters(vae(**steady, max_epochs=5).fit(X)))
    with pytest.raises(ValueError, match="differs in max_epochs"):
        vae(**steady, max_epochs=4).fit(X, checkpoint=tmp_path)


def test_a_state_that_is_given_is_checked_too(folder):
    state = Checkpoints(folder).load()
    vae().fit(X, resume=state)
    with pytest.raises(ValueError, match="resume is a checkpoint of a run that differs in X, prior:"):
        vae(prior="vamp").fit(OTHER, resume=state)
    del state[1]["identity"]
    with pytest.raises(ValueError, match="resume is a checkpoint of another version"):
        vae().fit(X, resume=state)


def test_streamed_rows_are_known_by_their_file_too(tmp_path):
    """A change of one row that is not among the hashed ones shows in the time of the file."""
    path = tmp_path / "x.npy"
    rows = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    np.save(path, rows)
    model = vae(batch_size=2000, max_epochs=1)
    model.fit(lowerbound.stream(path), checkpoint=tmp_path / "checkpoint")
    model.fit(lowerbound.stream(path), checkpoint=tmp_path / "checkpoint")
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    with pytest.raises(ValueError, match="differs in the times of the files:"):
        model.fit(lowerbound.stream(path), checkpoint=tmp_path / "checkpoint")
    np.save(path, rows[:-1])
    with pytest.raises(ValueError, match="differs in X, the times of the files:"):
        model.fit(lowerbound.stream(path), checkpoint=tmp_path / "checkpoint")


class Normal(ExplicitModel):
    """A user's own model."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(4))
        self.scale = scale

    def log_prob(self, batch):
        return torch.distributions.Normal(self.mean, self.scale).log_prob(batch.x).sum(-1)


def test_another_run_of_ones_own_model_is_refused(tmp_path):
    def run(model=None, data=X, validation=X[:9], *, double=1, **how):
        objective = Objective(lambda draw, state: -double * draw.log_px.mean(0))
        return fit(model or Normal(), None, objective, data, validation, max_epochs=2, checkpoint=tmp_path, **how)

    run()
    run()
    for other, named in [
        ({"data": OTHER}, "data"), ({"validation": X[9:18]}, "validation"), ({"model": Normal(2.0)}, "model"),
        ({"double": 2}, "objective"), ({"lr": 0.1}, "lr"), ({"seed": 1}, "random_state"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"differs in {named}:"):
            run(**other)


def test_functions_are_told_apart_by_what_they_do():
    def power(k):
        return lambda x: x**k

    same = [
        lambda x: x + 1,
        lambda x: x + 2,
        lambda x: x - 1,
        lambda x: x in {"a", "b"},
        power(2),
        power(3),
        power,
        torch.relu,
    ]
    for i, one in enumerate(same):
        assert [described(one) == described(other) for other in same].index(True) == i
    assert described(power(2)) == described(power(2))


class Color(Enum):
    RED = 1
    BLUE = 2


class Activated(nn.Module):
    def __init__(self, act, sizes=(1,)):
        super().__init__()
        self.act, self.sizes = act, list(sizes)


def weighted(*, w):
    def loss(x, *, weight=w):
        return weight * x

    return loss


@pytest.mark.parametrize(("one", "other"), [
    (np.float32(1), np.float32(2)), (Color.RED, Color.BLUE), ({1, 2}, {1, 3}), (Fraction(1, 2), Fraction(1, 3)),
    (1 + 2j, 1 + 3j), (range(3), range(4)), (torch.float32, torch.float64), ({1: 2}, {"1": 2}),
    (Activated(torch.relu), Activated(torch.tanh)), (Activated(None, [1, 2]), Activated(None, [1, 3])),
    (weighted(w=1.0), weighted(w=2.0)),
])  # fmt: skip
def test_what_differs_is_described_differently(one, other):
    assert digest_of(one) != digest_of(other)
    assert digest_of(one) == digest_of(copy.deepcopy(one))


def test_names_shapes_and_masks_of_tables_count():
    words = pd.DataFrame({"a": ["x", "y"], "b": ["z", "w"]})
    several = [words, words.rename(columns={"a": "c"}), words.T]
    hidden = np.ma.masked_array(words.to_numpy(object), [[True, False], [False, False]])
    assert len({digest(table) for table in [*several, hidden, np.ma.masked_array(hidden.data)]}) == 5
