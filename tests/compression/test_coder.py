"""The stack of bits: every push is undone by its pop, and takes as many bits as its probability says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

from lowerbound.compression.bits_back import Grid
from lowerbound.compression.coder import Stack, rounded
from lowerbound.compression.entries import rounded_parameters
from lowerbound.distributions.likelihoods.normal import Normal

seeds = st.integers(0, 2**32 - 1)


def some_words(rng, n=100):
    return np.append(rng.integers(0, 2**32, n, dtype=np.uint32), np.uint32(1))


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_what_is_pushed_is_popped(seed, empty):
    rng = np.random.default_rng(seed)
    stack = Stack(None if empty else some_words(rng))
    before, p = stack.words, rng.random((4, 7))
    bits = (rng.random(p.shape) < p).astype(int)
    low = rng.integers(-1000, 1000, (3, 5))
    high = low + rng.integers(0, [[1], [3], [2000]], low.shape)
    k, center, scale = rng.integers(low, high + 1), rng.uniform(-900, 900, low.shape), rng.uniform(0.1, 300, low.shape)

    def below(j):
        return stats.logistic.cdf(j + 0.5, center, scale)

    mean, deviation = rng.normal(0, 20, (2, 3)), np.exp(rng.normal(0, 3, (2, 3)))
    normal = np.clip(np.rint(rng.normal(mean, deviation)), -64, 64).astype(int)
    stack.push_bits(bits, p)
    stack.push_numbers(k, low, high, below)
    stack.push_normal(normal, mean, deviation, 64)
    np.testing.assert_array_equal(stack.pop_normal(mean, deviation, 64), normal)
    np.testing.assert_array_equal(stack.pop_numbers(low, high, below), k)
    np.testing.assert_array_equal(stack.pop_bits(p), bits)
    np.testing.assert_array_equal(stack.words, before)


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
def test_what_is_popped_can_be_pushed_back(seed, empty):
    rng = np.random.default_rng(seed)
    stack = Stack(None if empty else some_words(rng))
    before, mean, scale = stack.words, torch.from_numpy(rng.normal(0, 2, 6)), torch.from_numpy(rng.random(6) + 0.01)
    grid = Grid(1 / 16, 128)
    k = grid.pop(stack, mean, scale)
    grid.push(stack, k, mean, scale)
    np.testing.assert_array_equal(stack.words, before)


def test_numbers_take_as_many_bits_as_their_masses_say():
    rng = np.random.default_rng(0)
    center, scale = rng.uniform(0, 255, 5000), rng.uniform(1, 40, 5000)
    k = np.clip(np.rint(rng.logistic(center, scale)), 0, 255).astype(int)
    low, high = np.zeros_like(k), np.full_like(k, 255)

    def below(j):
        return np.where(j < 0, 0.0, np.where(j >= 255, 1.0, stats.logistic.cdf(j + 0.5, center, scale)))

    stack = Stack()
    stack.push_numbers(k, low, high, below)
    assert stack.n_bits == pytest.approx(-np.log2(below(k) - below(k - 1)).sum(), rel=1e-3)


def test_numbers_far_from_all_mass_are_coded_too():
    k = np.array([0, 255, 100, 2**40])
    high = np.array([255, 255, 255, 2**41])
    stack = Stack()
    stack.push_numbers(k, 0 * k, high, lambda j: (j >= 200).astype(float))
    np.testing.assert_array_equal(stack.pop_numbers(0 * k, high, lambda j: (j >= 200).astype(float)), k)


def test_rounding_hides_the_order_of_sums_and_keeps_twelve_digits():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, dtype=torch.float64, generator=generator) * 10 ** torch.linspace(-6, 6, 20_000).double()
    again = x * (1 + 2.0**-50)
    assert (rounded(x) == rounded(again)).double().mean() > 0.9999
    assert ((rounded(x) - x).abs() <= x.abs() * 2.0**-12 + 2.0**-17).all()
    assert (rounded(rounded(x)) == rounded(x)).all()


def test_rounding_keeps_small_scales_above_zero():
    scales = torch.tensor([1e-7, 3e-6, 0.01, 2.0], dtype=torch.float64)
    normal = Normal(torch.zeros(1, 1, 4), scales[None, None])
    np.testing.assert_allclose(rounded_parameters(normal).scale[0, 0], scales, rtol=2**-12)
    assert rounded(scales)[0] == 0  # what a mean may become


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="aren't finite"):
        rounded(torch.tensor([1.0, value]))
