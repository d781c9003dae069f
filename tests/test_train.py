"""The one loop: the best weights, exact continuation, whole epochs, clear failures."""

import math

import pytest
import torch

from lowerbound.data.batches import Rows
from lowerbound.data.storage import load_tensors, save_tensors
from lowerbound.distributions import make_generator
from lowerbound.inference.objectives import elbo
from lowerbound.train import Settings, Training, TrainingError, Watch, fit
from tests import linear_gaussian as toy

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
        fit(run, data())
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_validation_does_not_change_the_training():
    without, with_ = training(), training(early_stopping=False)
    fit(without, data())
    fit(with_, data(), data(20, seed=8))
    assert torch.equal(weights(without), weights(with_))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_continuing_from_a_checkpoint_is_bit_exact(tmp_path, stop):
    whole, part, rest = training(), training(), training()
    validation = data(20, seed=8)
    fit(whole, data(), validation)
    fit(part, data(), validation, StopAfter(stop))
    save_tensors(tmp_path / "last.safetensors", *part.state())
    rest.load_state(*load_tensors(tmp_path / "last.safetensors"))
    fit(rest, data(), validation)
    assert torch.equal(weights(whole), weights(rest))
    assert whole.best_weights is not None
    assert rest.best_weights is not None
    assert all(torch.equal(t, rest.best_weights[name]) for name, t in whole.best_weights.items())
    without_time = [{k: v for k, v in r.items() if k != "seconds"} for r in whole.progress.history]
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in rest.progress.history] == without_time


def test_the_best_validation_weights_are_kept():
    run = training(max_epochs=30, lr=0.3, early_stopping=False)
    validation = data(20, seed=8)
    seen = {}

    class Remember(Watch):
        def on_epoch(self, training, record):
            seen[record["epoch"]] = (record["validation_elbo"], weights(training))

    fit(run, data(), validation, Remember())
    best = max(seen, key=lambda epoch: seen[epoch][0])
    assert best != 30  # else the test shows nothing
    assert run.progress.best_epoch == best
    run.restore_best()
    assert torch.equal(weights(run), seen[best][1])


def test_early_stopping_waits_for_patience_and_warm_up():
    run = training(max_epochs=200, lr=1e-12, n_iter_no_change=4, tol=0.01)
    fit(run, data(), data(20, seed=8))
    assert run.progress.epoch == 5
    warming = training(max_epochs=200, lr=1e-12, n_iter_no_change=4, tol=0.01)
    warming.objective = elbo(kl_warmup_steps=40)  # 10 epochs of 4 steps
    fit(warming, data(), data(20, seed=8))
    assert warming.progress.epoch >= 13


def test_history_is_a_mean_over_rows():
    run = training(max_epochs=1, lr=1e-12)
    rows = data()
    fit(run, rows)
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


def test_a_loss_that_is_not_a_number_stops_with_a_remedy():
    run = training()
    rows = data()
    rows.raw[3, 1] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite in epoch 1.*lower the learning rate"):
        fit(run, rows)


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
