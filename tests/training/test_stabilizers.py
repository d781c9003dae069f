"""Averaged weights and clipped gradients: the average is the formula's, absurd steps are not taken."""

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.training.test_loop import StopAfter, data, training, weights

from lowerbound import MLP, VAE, Adam
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.stabilizers import Average, Clipping
from lowerbound.training.watch import Watch


class Trajectory(Watch):
    def __init__(self):
        self.weights = []

    def on_start(self, training, data, validation):
        self.start = weights(training)

    def on_step(self, training):
        self.weights.append(weights(training))


def test_the_average_is_the_recursion_over_all_steps():
    run, plain, seen = training(ema=0.9), training(), Trajectory()
    train(run, data(), watch=seen)
    train(plain, data())
    expected = seen.start
    for step, w in enumerate(seen.weights):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * w
    torch.testing.assert_close(weights(run), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(seen.weights[-1], weights(plain))  # the training itself is the same
    assert run.average is not None
    assert (weights(run) - weights(plain)).abs().max() > 1e-3


def test_a_constant_weight_is_its_own_average():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    average = Average([parameter], 0.99)
    for step in range(50):
        average.update(step)
    torch.testing.assert_close(average.others[0], parameter.detach())


def test_the_average_is_what_is_validated_and_kept():
    run, bounds = training(ema=0.9, early_stopping=False), []

    class RecordBounds(Watch):
        def on_epoch(self, training, record):
            bounds.append(record["validation_elbo"])
            assert not training.average.shown

    validation = data(20, seed=8)
    train(run, data(), validation, RecordBounds())
    assert run.average is not None
    assert run.average.shown
    last = weights(run)
    assert run.progress.best_epoch == 6  # else the test shows nothing
    run.restore_best()
    assert torch.equal(weights(run), last)
    assert bounds[-1] == run.progress.best


@pytest.mark.parametrize(
    "settings",
    [{"ema": 0.9}, {"max_gradient_norm": 0.5}, {"ema": 0.9, "max_gradient_norm": 2.0}],
)
def test_continuing_is_bit_exact(tmp_path, settings):
    whole, part, rest = (training(**settings) for _ in range(3))
    validation = data(20, seed=8)
    train(whole, data(), validation)
    train(part, data(), validation, Saves(tmp_path / "last.safetensors"))
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, data(), validation)
    assert torch.equal(weights(whole), weights(rest))
    assert whole.progress.best == rest.progress.best
    if whole.clipping is not None and rest.clipping is not None:
        assert torch.equal(whole.clipping.usual, rest.clipping.usual)


class Saves(StopAfter):
    def __init__(self, path):
        super().__init__(2)
        self.path = path

    def on_epoch(self, training, record):
        super().on_epoch(training, record)
        save_tensors(self.path, *training.state())


def test_gradients_are_shortened_to_the_norm_over_all_parameters():
    first, second = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert Clipping([first, second], 1.0).shorten() == 0
    torch.testing.assert_close(torch.cat([first.grad, second.grad]), torch.tensor([0.6, 0, 0, 0.8]))
    assert Clipping([first, second], 5.0).shorten() == 0
    torch.testing.assert_close(torch.cat([first.grad, second.grad]), torch.tensor([0.6, 0, 0, 0.8]))


@pytest.mark.parametrize("absurd", [1e6, torch.inf, torch.nan])
def test_absurd_steps_are_not_taken_and_leave_no_trace(absurd):
    with_, without = (training(max_gradient_norm=100.0) for _ in range(2))
    rows = list(data().batches(16))
    for run in (with_, without):
        for i, batch in enumerate(rows):
            if run is with_ and i == 2:
                before = weights(run)
                spoilt = toy.numbers(1).sum() * 0 + absurd
                factor = run.objective.loss
                run.objective = type(run.objective)(lambda d, s, f=factor, c=spoilt: f(d, s) * c)
                run.step(batch, 0.02)
                assert torch.equal(weights(run), before)
                run.objective = type(run.objective)(factor)
            elif i != 2:
                run.step(batch, 0.02)
            else:  # the same noise for the batches after it
                run.model.draw(batch, run.posterior, run.objective, run.noise)
    assert with_.clipping is not None
    assert with_.clipping.skipped == 1
    assert torch.isfinite(weights(with_)).all()
    assert torch.equal(weights(with_), weights(without))


def test_what_is_usual_follows_gradients_that_stay_long():
    parameter = torch.nn.Parameter(torch.zeros(1))
    clipping, taken = Clipping([parameter], 1.0), []
    for norm in [1.0] * 5 + [1000.0] * 300:
        parameter.grad = torch.tensor([norm])
        taken.append(clipping.shorten().item() == 0)
    assert all(taken[:5])
    assert not any(taken[5:20])
    assert taken[-1]


def test_a_first_gradient_of_zero_forbids_no_other():
    parameter = torch.nn.Parameter(torch.zeros(1))
    clipping = Clipping([parameter], 1.0)
    for norm, skip in ((0.0, 0), (2.0, 0), (3.0, 0), (1e3, 1)):
        parameter.grad = torch.tensor([norm])
        assert clipping.shorten() == skip


def test_an_estimator_averages_over_its_fits():
    X = np.random.default_rng(0).normal(size=(64, 3))
    settings = {"max_epochs": 3, "random_state": 0, "early_stopping": False, "network": MLP((8,))}
    averaged = VAE(2, optimizer=Adam(ema=0.99, max_gradient_norm=10.0), **settings).fit(X)
    plain = VAE(2, **settings).fit(X)
    assert averaged.score(X) != plain.score(X)
    piece = VAE(2, optimizer=Adam(ema=0.99), **settings)
    for _ in range(3):
        piece.partial_fit(X)
    training = piece._training_state
    assert training.average.shown
    live = [p.clone() for p in training.average.others]
    piece.partial_fit(X)
    assert not all(torch.equal(a, b) for a, b in zip(live, training.average.others, strict=True))
