"""A step as one graph does what the step without it does: the same noise, the same AdamW, the same care."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests import linear_gaussian as toy

from lowerbound import MLP, VAE, Adam
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import elbo
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.optimizers import AdamW
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training
from lowerbound.training.step import Recorder, what_changes

N = 50  # with batches of 16 the last one has 2 rows


@pytest.fixture(autouse=True)
def traced_but_not_compiled(monkeypatch):
    """The graph is what is tested here, not the compiler, which takes half a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def data(n: int = N, seed: int = 7) -> RowsInMemory:
    return toy.rows(toy.numbers(n, toy.F, seed=seed))


def training(compiled: bool, objective=None, **settings) -> Training:
    chosen = Settings(**({"max_epochs": 3, "batch_size": 16, "lr": 0.02} | settings), compile=compiled)
    return Training(
        toy.model(), toy.posterior("diagonal"), objective or elbo(), chosen, seed=3, device=torch.device("cpu")
    )


def weights(run: Training) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(run.modules.parameters()).detach().clone()


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        (elbo(), {}),
        (elbo(), {"weight_decay": 0.3, "lr_schedule": "constant"}),
        (elbo(2, kl_warmup_steps=7), {"ema": 0.9}),
    ],
)
def test_a_graph_trains_as_the_loop_does(objective, settings):
    plain, compiled = training(False, objective, **settings), training(True, objective, **settings)
    before = weights(plain)
    for run in (plain, compiled):
        train(run, data(), data(20, seed=8))
    assert (weights(plain) - before).abs().max() > 0.05  # else the test shows nothing
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(compiled.progress.history, plain.progress.history, strict=True):
        assert mine["validation_elbo"] == pytest.approx(theirs["validation_elbo"], rel=1e-5)
        assert mine["kl"] == pytest.approx(theirs["kl"], rel=1e-5)


def test_a_row_that_is_not_finite_costs_its_step_alone():
    runs = training(False), training(True)
    for run in runs:
        rows = data()
        rows.raw[3, 1] = torch.inf
        train(run, rows)
    torch.testing.assert_close(weights(runs[1]), weights(runs[0]), rtol=1e-5, atol=1e-7)
    assert weights(runs[1]).isfinite().all()
    for moments in zip(*(run.adamw.state.values() for run in runs), strict=True):
        assert moments[0]["step"] == moments[1]["step"] == 3 * 4 - 3


def test_continuing_is_bit_exact(tmp_path):
    whole, part, rest = training(True), training(True, max_epochs=3), training(True)
    train(whole, data())
    part.settings = Settings(max_epochs=1, batch_size=16, lr=0.02, lr_schedule="constant", compile=True)
    whole_constant = training(True, lr_schedule="constant")
    train(whole_constant, data())
    train(part, data())
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest = training(True, lr_schedule="constant")
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, data())
    assert torch.equal(weights(rest), weights(whole_constant))
    assert not torch.equal(weights(rest), weights(whole))


def test_adamw_is_that_of_torch_and_continues_from_its_state():
    noise = Noise(make_generator(0, "weights"))
    start = [noise.normal((2, k), torch.zeros(1)) for k in range(1, 13)]
    mine, theirs, rest = ([torch.nn.Parameter(t.clone()) for t in start] for _ in range(3))
    of_mine = AdamW(mine, 0.1, 0.2)
    of_theirs = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.2)
    for step in range(4):
        for pair in zip(mine, theirs, strict=True):
            pair[0].grad = noise.normal(pair[0].shape, pair[0])
            pair[1].grad = pair[0].grad.clone()
        of_mine.move(0.1, torch.tensor(float(step == 2)))
        assert all(weight.grad is None for weight in mine)
        if step != 2:  # which is to be skipped
            of_theirs.step()
        if step == 1:
            of_rest = AdamW(rest, 0.1, 0.2)
            slots = {k: of_mine.state_dict()["state"][k] for k in sorted(range(12), key=str)}  # as a file has them
            of_rest.load_state_dict({"state": slots})
            for weight, loaded in zip(mine, rest, strict=True):
                assert torch.equal(of_rest.state[loaded]["exp_avg_sq"], of_mine.state[weight]["exp_avg_sq"])
    assert of_mine.count == 3
    assert of_rest.count == 2
    torch.testing.assert_close(mine, theirs)


def test_what_is_asked_for_is_written_down_and_the_generator_left_alone():
    noise, like = Noise(make_generator(0, "noise")), torch.zeros(1)
    before = noise.generator.get_state()
    recorder = Recorder(noise)
    first = recorder.normal((2, 3, 4), like)
    recorder.uniform((1, 3), like.double())
    assert torch.equal(noise.generator.get_state(), before)
    assert [request[:2] for request in recorder.requests] == [(torch.randn, (2, 3, 4)), (torch.rand, (1, 3))]
    assert torch.equal(noise.draw(*recorder.requests[0]), first)
    assert noise.draw(*recorder.requests[1]).dtype == torch.float64


def test_of_an_estimator():
    X = torch.randn(120, 4, generator=make_generator(0, "X")).numpy()
    settings = {"max_epochs": 2, "batch_size": 32, "random_state": 0, "network": MLP((8,))}
    plain, compiled = (VAE(2, optimizer=Adam(compile=c), **settings).fit(X) for c in (False, True))
    assert compiled.history_[-1]["elbo"] == pytest.approx(plain.history_[-1]["elbo"], rel=1e-5)
    with pytest.raises(ValueError, match="compile=True goes with one process"):
        VAE(2, optimizer=Adam(max_gradient_norm=1.0, compile=True), **settings).fit(X)


def test_guards_are_of_what_changes_alone():
    names = ["", "batch.complete", "L['state'].step", "weights['a']", "L['self'].loss", "G['torch']", "batches"]
    guards = [SimpleNamespace(name=name) for name in names]
    assert what_changes(guards) == [True, True, True, False, False, False, False]


def test_a_graph_sees_that_a_batch_has_gaps():
    plain, compiled = training(False), training(True)
    for run in (plain, compiled):
        rows = data(48)
        train(run, rows)  # which makes the graph, of complete batches
        rows = replace(rows, mask=torch.tensor([True, False, True]))
        run.settings = replace(run.settings, max_epochs=6)
        train(run, rows)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-5, atol=1e-7)
