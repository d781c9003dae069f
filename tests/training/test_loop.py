"""The one loop: the best weights, exact continuation, whole epochs, clear failures."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound import VAE
from lowerbound.core import NoPosterior
from lowerbound.data.batches import Rows
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import elbo
from lowerbound.inference.posteriors import MeanField
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training, TrainingError
from lowerbound.training.watch import Watch

N = 50  # with batches of 16 the last one has 2 rows


def data(n: int = N, seed: int = 7) -> Rows:
    return toy.rows(toy.numbers(n, toy.F, seed=seed))


def training(max_epochs: int = 6, **settings) -> Training:
    chosen = Settings(**({"max_epochs": max_epochs, "batch_size": 16, "lr": 0.02} | settings))
    return Training(toy.model(), toy.posterior("diagonal"), elbo(), chosen, seed=3, device=torch.device("cpu"))


def weights(run: Training) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(run.modules.parameters()).detach().clone()


class StopAfter(Watch):
    def __init__(self, epochs: int) -> None:
        self.epochs, self.done = epochs, 0

    def on_epoch(self, training, record):
        self.done += 1

    def should_stop(self):
        return self.done >= self.epochs


def test_same_seed_same_weights_and_another_seed_others():
    first, second, other = training(), training(), training()
    other.noise.generator.manual_seed(99)
    for run in (first, second, other):
        train(run, data())
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_validation_does_not_change_the_training():
    without, with_ = training(), training(early_stopping=False)
    train(without, data())
    train(with_, data(), data(20, seed=8))
    assert torch.equal(weights(without), weights(with_))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_continuing_from_a_checkpoint_is_bit_exact(tmp_path, stop):
    whole, part, rest = training(), training(), training()
    validation = data(20, seed=8)
    train(whole, data(), validation)
    train(part, data(), validation, StopAfter(stop))
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, data(), validation)
    assert torch.equal(weights(whole), weights(rest))
    assert whole.best_weights is not None
    assert rest.best_weights is not None
    assert all(torch.equal(t, rest.best_weights[name]) for name, t in whole.best_weights.items())
    without_time = [{k: v for k, v in r.items() if k != "seconds"} for r in whole.progress.history]
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in rest.progress.history] == without_time


def test_a_checkpoint_of_another_kind_of_device_continues_with_other_noise():
    part, rest, again = training(), training(), training()
    train(part, data(), watch=StopAfter(2))
    tensors, metadata = part.state()
    tensors["generator.noise"] = torch.zeros(16, dtype=torch.uint8)  # what a GPU's generator gives
    for each in (rest, again):
        with pytest.warns(UserWarning, match="another kind of device"):
            each.load_state({name: tensor.clone() for name, tensor in tensors.items()}, metadata)
        train(each, data())
    assert torch.equal(weights(rest), weights(again))
    whole = training()
    train(whole, data())
    assert not torch.equal(weights(whole), weights(rest))


@pytest.mark.parametrize("lost", ["ledger.skipped", "weights.model.decoder.network.weight", "generator.order"])
def test_a_checkpoint_of_another_version_is_refused_in_a_sentence(lost):
    part = training()
    train(part, data(), watch=StopAfter(2))
    tensors, metadata = part.state()
    assert lost in tensors, sorted(tensors)
    with pytest.raises(ValueError, match="of another network or another version"):
        training().load_state({name: tensor for name, tensor in tensors.items() if name != lost}, metadata)


class StopAt(Watch):
    """Asks to stop after so many steps; in the validation, if asked for."""

    def __init__(self, n_steps: int, in_validation: bool = False) -> None:
        self.n_steps, self.in_validation = n_steps, in_validation

    def on_start(self, training, data, validation):
        self.training = training

    def should_stop(self):
        evaluating = not self.training.modules.training
        return self.training.progress.objective.step >= self.n_steps and evaluating >= self.in_validation


@pytest.mark.parametrize("validation", [None, data(20, seed=8)])
@pytest.mark.parametrize("stop", range(1, 13))  # 4 steps an epoch
def test_continuing_within_an_epoch_is_bit_exact(tmp_path, stop, validation):
    whole, part, rest = (training(max_epochs=3, weight_decay=0.01) for _ in range(3))
    for run in (whole, part, rest):
        run.objective = elbo(kl_warmup_steps=7)
        spoil(run, lambda step: step in (2, 3), SPOILED["reconstruction"])
    train(whole, data(), validation)
    train(part, data(), validation, StopAt(stop))
    assert part.progress.objective.step == stop
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    train(rest, data(), validation)
    assert_same(whole, rest)
    train(part, data(), validation)  # and without going over a file
    assert_same(whole, part)


def assert_same(whole: Training, rest: Training) -> None:
    (a, metadata), (b, other) = whole.state(), rest.state()
    assert a.keys() == b.keys()
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
    for record in (*metadata["progress"]["history"], *other["progress"]["history"]):
        del record["seconds"]
    metadata["progress"]["seconds"] = other["progress"]["seconds"] = 0
    assert metadata == other


def test_stopping_in_the_validation_leaves_the_epoch_open():
    whole, part = training(max_epochs=2), training(max_epochs=2)
    validation = data(20, seed=8)
    train(whole, data(), validation)
    train(part, data(), validation, StopAt(4, in_validation=True))
    assert (part.progress.epoch, part.progress.n_batches, part.progress.history) == (0, 4, [])
    train(part, data(), validation)
    assert_same(whole, part)


@pytest.mark.parametrize("n", [2, 499, 500, 501, 1000, 1001])
def test_validation_is_a_mean_over_rows(n):
    run, validation = training(max_epochs=1, lr=1e-12), data(n, seed=8)
    train(run, data(), validation)
    noise = Noise(make_generator(3, "validation"))
    elbos = []
    with torch.no_grad():
        for first in range(0, n, 500):
            batch = whole_batch(validation.raw[first : first + 500])
            draw = run.model.draw(batch, run.posterior, run.objective, noise)
            elbos.append(draw.log_px[0] - draw.kl.sum(-1))
    assert run.progress.history[0]["validation_elbo"] == pytest.approx(torch.cat(elbos).mean().item(), rel=1e-6)


@pytest.mark.parametrize("n", [16, 17, 31, 32, 33])
def test_a_last_batch_of_any_size_counts_by_its_rows(n):
    run, rows = training(max_epochs=1), data(n)
    seen = []
    sound = run.objective.loss

    def loss(draw, state):
        found = sound(draw, state)
        seen.append((len(found), found.mean().item()))
        return found

    run.objective = replace(run.objective, loss=loss)
    train(run, rows)
    assert [size for size, _ in seen] == [16] * (n // 16) + ([n % 16] if n % 16 else [])
    [record] = run.progress.history
    assert -record["elbo"] == pytest.approx(sum(size * mean for size, mean in seen) / n, rel=1e-5)


def test_the_best_validation_weights_are_kept():
    run = training(max_epochs=30, lr=0.3, early_stopping=False)
    validation = data(20, seed=8)
    seen = {}

    class Remember(Watch):
        def on_epoch(self, training, record):
            seen[record["epoch"]] = (record["validation_elbo"], weights(training))

    train(run, data(), validation, Remember())
    best = max(seen, key=lambda epoch: seen[epoch][0])
    assert best != 30  # else the test shows nothing
    assert run.progress.best_epoch == best
    run.restore_best()
    assert torch.equal(weights(run), seen[best][1])


def test_early_stopping_waits_for_patience_and_warm_up():
    run = training(max_epochs=200, lr=1e-12, n_iter_no_change=4, tol=0.01)
    train(run, data(), data(20, seed=8))
    assert run.progress.epoch == 5
    warming = training(max_epochs=200, lr=1e-12, n_iter_no_change=4, tol=0.01)
    warming.objective = elbo(kl_warmup_steps=40)  # 10 epochs of 4 steps
    train(warming, data(), data(20, seed=8))
    assert warming.progress.epoch >= 13


def test_history_is_a_mean_over_rows():
    run = training(max_epochs=1, lr=1e-12)
    rows = data()
    train(run, rows)
    [record] = run.progress.history
    assert record["step"] == math.ceil(N / 16)
    q = run.posterior(next(rows.batches(N)))
    assert record["kl"] == pytest.approx(q.kl_to_standard_normal().sum(-1).mean().item(), rel=1e-5)
    assert record["elbo"] == pytest.approx(record["reconstruction"] - record["kl"])


def test_every_row_is_seen_once_an_epoch_in_a_new_order():
    rows, order = data(), make_generator(0, "order")
    epochs = [torch.cat([batch.index for batch in rows.batches(16, None, order)]) for _ in range(2)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(N))] * 2
    assert not torch.equal(*epochs)
    for batch in rows.batches(16, None, order):
        assert torch.equal(batch.x, rows.raw[batch.index])
        assert batch.mask.shape == batch.x.shape


def test_an_epoch_can_start_in_its_middle():
    rows = data()
    whole = [batch.index for batch in rows.batches(16, None, make_generator(0, "order"))]
    tail = [batch.index for batch in rows.batches(16, None, make_generator(0, "order"), start=2)]
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], tail, strict=True))


# steps without a finite loss or gradient


def everything(run: Training) -> dict[str, torch.Tensor]:
    """What a step may move."""
    return {k: v.clone() for k, v in run.state()[0].items() if k.startswith(("weights.", "optimizer."))}


def spoil(run: Training, when, how) -> None:
    """Let ``how`` change the loss of the steps for which ``when`` holds."""
    sound = run.objective.loss
    run.objective = replace(
        run.objective,
        loss=lambda draw, state: how(draw, sound(draw, state)) if when(state.step) else sound(draw, state),
    )


SPOILED = {
    "reconstruction": lambda draw, loss: loss * math.nan,
    "infinite": lambda draw, loss: loss + math.inf,
    "gradient": lambda draw, loss: loss + (draw.log_px.mean(0) * 0).sqrt(),  # 0 with slope ∞ · 0
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_step_without_a_finite_loss_or_gradient_moves_nothing(how):
    run = training(weight_decay=0.1)
    rows = data()
    train(run, rows, watch=StopAfter(1))
    before = everything(run)
    spoil(run, lambda step: True, SPOILED[how])
    for batch in rows.batches(16, run.noise, run.order):
        run.step(batch, 0.1)
    after = everything(run)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.epoch_totals.skipped.tolist() == [4, 4]


def test_rows_with_numbers_of_their_own_are_skipped_too():
    model = toy.model()
    posterior = MeanField(N, toy.D, NoPosterior()).double()
    chosen = Settings(max_epochs=2, batch_size=16, lr=0.02)
    run = Training(model, posterior, elbo(), chosen, seed=3, device=torch.device("cpu"))
    rows = data()
    train(run, rows, watch=StopAfter(1))
    before = everything(run)
    spoil(run, lambda step: True, SPOILED["reconstruction"])
    run.step(next(rows.batches(16, run.noise, run.order)), 0.1)
    assert all(torch.equal(before[name], value) for name, value in everything(run).items())


def test_skipped_steps_are_counted_and_left_out_of_the_means():
    run, rows = training(max_epochs=2, lr=1e-12), data()
    spoil(run, lambda step: step in (1, 5, 6), SPOILED["reconstruction"])
    train(run, rows)
    assert [record["n_skipped"] for record in run.progress.history] == [1, 2]
    sound = training(max_epochs=1, lr=1e-12)
    order = torch.cat([batch.index for batch in rows.batches(16, None, make_generator(3, "order"))])
    counted = torch.cat([order[:16], order[32:]])
    q = sound.posterior(whole_batch(rows.raw[counted]))
    kl = q.kl_to_standard_normal().sum(-1).mean().item()
    assert run.progress.history[0]["kl"] == pytest.approx(kl, rel=1e-5)


def test_the_running_baseline_is_not_spoiled():
    run, rows = training(max_epochs=3), data()
    run.objective = elbo(gradient="score", baseline="running")
    sound = run.model.draw

    def draw(batch, posterior, objective, noise):
        found = sound(batch, posterior, objective, noise)
        return replace(found, log_px=found.log_px * (math.nan if run.progress.objective.step == 2 else 1))

    run.model.draw = draw
    train(run, rows)
    assert math.isfinite(run.progress.objective.baseline)
    assert [record["n_skipped"] for record in run.progress.history] == [1, 0, 0]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("reconstruction", r"the reconstruction \(nan\) is not finite since step 9 .*epoch 3\): lower the learning "
         r"rate \(lr=0.02\), or look for extreme values in the data; kept: the weights of epoch 2"),
        ("gradient", r"the gradient is not finite since step 9 .*: .* \(max_gradient_norm\); kept: "),
        ("kl", r"the KL term \(inf\) is not finite since step 9 .*: lower .* \(warmup_steps\); kept: "),
    ],
)  # fmt: skip
def test_many_skipped_steps_in_a_row_stop_with_a_remedy(how, sentence):
    run, rows = training(), data()
    train(run, rows, watch=StopAfter(2))
    good = weights(run)
    sound = run.model.draw

    def draw(batch, posterior, objective, noise):
        found = sound(batch, posterior, objective, noise)
        if how == "reconstruction":
            found.log_px = found.log_px * math.nan
        elif how == "kl":
            found.kl = found.kl + math.inf
        return found

    run.model.draw = draw
    if how == "gradient":
        spoil(run, lambda step: True, SPOILED["gradient"])
    with pytest.raises(TrainingError, match=sentence):
        train(run, rows)
    run.restore_best()
    assert torch.equal(weights(run), good)
    assert len(run.progress.history) <= 4


def test_an_epoch_without_any_finite_step_is_enough():
    run, rows = training(), data()
    rows.raw[:, 1] = torch.nan
    with pytest.raises(TrainingError, match=r"since step 1 \(now step 4, epoch 1\).*no weights, no epoch was good"):
        train(run, rows)


def test_one_bad_row_does_not_stop_the_others():
    run, rows = training(), data()
    rows.raw[3, 1] = torch.nan
    train(run, rows)
    assert [record["n_skipped"] for record in run.progress.history] == [1] * 6
    assert weights(run).isfinite().all()


def test_learning_rate_rises_and_falls():
    run = training(lr=1.0)
    rates = []
    for step in range(200):
        run.progress.objective.step = step
        rates.append(run.learning_rate(200))
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates.index(max(rates)) in range(8, 12)
    assert 0 < rates[-1] < 1e-3
    run.progress.objective.step = 0
    assert run.learning_rate(1) > 0  # a single step is a step
    assert training(lr=0.5, lr_schedule="constant").learning_rate(200) == 0.5


def test_few_frames_lie_between_a_fit_and_the_optimizers_step(monkeypatch):
    found = []

    class Stopped(Exception):
        pass

    def move(self, lr, skip):
        found.extend(frame.function for frame in inspect.stack())
        raise Stopped

    monkeypatch.setattr("lowerbound.training.optimizers.AdamW.move", move)
    with pytest.raises(Stopped):
        VAE(1, max_epochs=1).fit(np.random.default_rng(0).normal(size=(30, 2)))
    assert found[: found.index("fit") + 1] == ["move", "step", "train", "run", "fit"]
