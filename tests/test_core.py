"""What is known about a batch may save work, but changes nothing."""

from dataclasses import replace

import pytest
import torch

from lowerbound.core import Batch
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.likelihoods.likelihood import event_sum
from tests import linear_gaussian as toy


def rows(mask: torch.Tensor) -> RowsInMemory:
    return RowsInMemory(toy.numbers(9, toy.F), lambda raw, noise: raw, mask, torch.device("cpu"))


def test_rows_say_whether_all_is_observed():
    whole, part = torch.ones(toy.F, dtype=torch.bool), torch.arange(toy.F) > 0
    assert all(batch.complete for batch in rows(whole).batches(4))
    assert not any(batch.complete for batch in rows(part).batches(4))


@pytest.mark.parametrize("unit", [None, 0.7])
def test_a_complete_batch_is_scored_like_one_whose_mask_is_looked_at(unit):
    model = toy.model()
    if unit is not None:
        model.log_unit = torch.full((toy.F,), unit, dtype=torch.float64)
    batch = next(rows(torch.ones(toy.F, dtype=torch.bool)).batches(9))
    z = toy.numbers(5, 9, toy.D, seed=1)
    torch.testing.assert_close(model.log_px(batch, z), model.log_px(replace(batch, complete=False), z))
    assert torch.equal(batch.seen, replace(batch, complete=False).seen)


def test_the_mask_of_an_incomplete_batch_counts():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert event_sum(torch.tensor([[1.0, 2.0, 4.0]]), mask).tolist() == [5.0, 4.0]
    assert event_sum(torch.tensor([[1.0, 2.0, 4.0]]), mask, complete=True).tolist() == [7.0]


def test_what_is_hidden_twice_is_missing_once_and_for_all():
    first, second = torch.tensor([True, False, False]), torch.tensor([False, True, True])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    batch = Batch(torch.zeros(2, 3), mask, torch.arange(2)).with_hidden(first).with_hidden(second)
    assert torch.equal(batch.mask, torch.zeros(2, 3, dtype=torch.bool))
    assert batch.missing is not None
    assert torch.equal(batch.missing, mask)  # what didn't count before is not missing
