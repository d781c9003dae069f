"""What a network sees of numbers that are far out."""

import math

import pytest
import torch

from lowerbound.distributions.atoms import FIRST
from lowerbound.nn.columns import ColumnInputs
from lowerbound.nn.inputs import FAR_OUT, Standardized, Values, drawn_in


def test_numbers_are_drawn_in_from_five_standard_deviations_on():
    usual = torch.linspace(-FAR_OUT, FAR_OUT, 101)
    assert torch.equal(drawn_in(usual), usual)
    x = torch.tensor([6.0, 73.0, 1e30], dtype=torch.float64)
    expected = torch.tensor([5 + math.log(1 + v - 5) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(drawn_in(x), expected)
    torch.testing.assert_close(drawn_in(-x), -expected)


def test_nothing_jumps_and_the_order_stays():
    x = torch.linspace(3, 7, 4001, dtype=torch.float64, requires_grad=True)
    y = drawn_in(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (y.diff() > 0).all()
    torch.testing.assert_close(slope, 1 / (1 + (x.detach() - 5).clamp_min(0)))
    assert torch.autograd.grad(drawn_in(x).sum(), x)[0].isfinite().all()


def test_what_is_not_observed_is_zero():
    x, mask = torch.tensor([[1e9, 50.0, 0.5]]), torch.tensor([[False, True, True]])
    torch.testing.assert_close(Standardized()(x, mask), torch.tensor([[0.0, 5 + math.log(46), 0.5]]))
    torch.testing.assert_close(Values()(x, mask), torch.tensor([[0.0, 50.0, 0.5]]))


@pytest.mark.parametrize("mass", [False, True])
def test_columns_of_numbers_are_drawn_in_and_a_point_mass_is_not(mass):
    inputs = ColumnInputs([0, 2], [[], [0.7]], [1], [3])
    x = torch.tensor([[40.0, 2.0, -1000.0 if mass else -999.0]])
    far = 0.0 if mass else -5 - math.log(995)
    torch.testing.assert_close(inputs(x), torch.tensor([[5 + math.log(36), far, 0, mass, 0, 0, 1.0]]))


def test_an_atom_of_several_is_shown_as_its_number_and_as_which_it_is():
    inputs = ColumnInputs([0, 1, 2], [[-1.0, 0.5, 60.0], [0.7], [2.0, 3.0]], [], [])
    x = torch.tensor([[FIRST - 2, FIRST, 0.25], [0.1, 0.2, FIRST - 1], [FIRST, 0.0, FIRST]])
    mask = torch.tensor([[True] * 3, [True] * 3, [False, True, True]])
    far = 5 + math.log(56)
    torch.testing.assert_close(
        inputs(x, mask),
        torch.tensor([
            [far, 0, 0.25, 1, 1, 0, 0, 0, 1, 0, 0],
            [0.1, 0.2, 3.0, 0, 0, 1, 0, 0, 0, 0, 1],
            [0.0, 0.0, 2.0, 0, 0, 1, 0, 0, 0, 1, 0],
        ]),
    )  # fmt: skip
