"""The chain rule: probabilities that sum to one, nothing read ahead of its turn, draws that follow the density."""

import itertools
import math

import pytest
import torch
from tests.conftest import whole_batch
from torch import nn

from lowerbound.core import Batch
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli, BernoulliHead
from lowerbound.distributions.likelihoods.categorical import CategoricalHead
from lowerbound.distributions.likelihoods.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticHead
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead, event_sum
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.models import autoregressive
from lowerbound.models.autoregressive import Autoregressive, from_grid, to_grid
from lowerbound.nn.inputs import Values
from lowerbound.nn.recurrent import Level, Number, RasterGRU

SHAPES = [(1, 3, 3), (2, 2, 2), (3, 1, 3), (1, 4, 2), (7,)]


def grid_of(x: torch.Tensor) -> torch.Tensor:
    return to_grid(x, is_image=x.ndim == 4)


def channels_of(event_shape) -> int | None:
    return event_shape[0] if len(event_shape) == 3 else None


def model(event_shape, head: LikelihoodHead | None = None, view: nn.Module | None = None, **more) -> Autoregressive:
    """Weights three times as large as usual, so that features depend on each other strongly."""
    generator = make_generator(0, "weights")
    head = head or BernoulliHead()
    grid = tuple(grid_of(torch.zeros(1, *event_shape)).shape[1:])
    network = RasterGRU(grid, head.n_parameters, 8, view or Number(), 1, generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
        network.bias.normal_(generator=generator)
    counted = torch.ones(event_shape, dtype=torch.bool)
    arguments = {"counted": counted, "log_unit": None, "is_image": len(event_shape) == 3} | more
    return Autoregressive(network, head, **arguments).double()


def every(n_categories: int, event_shape) -> torch.Tensor:
    """Every x there is."""
    states = itertools.product(range(n_categories), repeat=math.prod(event_shape))
    return torch.tensor(list(states), dtype=torch.float64).view(-1, *event_shape)


def part(x: torch.Tensor, n_observed: int) -> Batch:
    """The first so many entries in raster order are observed, the others are NaN."""
    grid = grid_of(torch.ones_like(x))
    seen = (torch.arange(grid[0].numel()) < n_observed).view(grid.shape[1:]).expand_as(grid)
    mask = from_grid(seen, channels_of(x.shape[1:]))
    return Batch(torch.where(mask, x, math.nan), mask, torch.arange(len(x)))


# the density


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_of_all_binary_rows_sum_to_one(shape):
    log_p = model(shape).log_prob(whole_batch(every(2, shape)))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-10)
    assert log_p.std() > 0.5  # far from uniform


@pytest.mark.parametrize("shape", [(1, 2, 3), (5,)])
def test_probabilities_of_all_categories_sum_to_one(shape):
    p = model(shape, CategoricalHead(3), Level(3, make_generator(0, "levels")))
    assert p.log_prob(whole_batch(every(3, shape))).exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_probabilities_of_two_bytes_sum_to_one():
    head = DiscretizedLogisticHead(Scale("decoder", torch.tensor(0.3), torch.tensor(1e-3)))
    p = model((2,), head, nn.Sequential(Values(DiscretizedLogistic.center), Number()))
    assert p.log_prob(whole_batch(every(256, (2,)))).exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_a_density_integrates_to_one_in_the_users_units():
    """The trapezoidal rule, whose error for smooth functions on so wide a square is below 1e-8."""
    unit = torch.tensor([2.0, 3.0], dtype=torch.float64)
    head = NormalHead(Scale("decoder", torch.tensor(1.0), torch.tensor(0.1)))
    p = model((2,), head, log_unit=unit.log())
    axis = torch.linspace(-20, 20, 601, dtype=torch.float64)
    log_p = p.log_prob(whole_batch(torch.cartesian_prod(axis, axis)))
    area = (axis[1] - axis[0]).square() * unit.prod()  # x is in the model's units, the density in the user's
    assert (log_p.exp().sum() * area).item() == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_conditional_reads_all_that_came_before_and_nothing_else(shape):
    p = model(shape)
    x = grid_of(every(2, shape)[3:4])
    jacobian = torch.autograd.functional.jacobian(lambda x: p.network(x).flatten(), x).flatten(1)
    assert torch.equal(jacobian != 0, torch.ones_like(jacobian).tril(-1).bool())


@pytest.mark.parametrize("shape", SHAPES)
def test_all_at_once_is_step_by_step(shape):
    p, x = model(shape), grid_of(every(2, shape))
    steps = {(r, l): raw for r, l, raw in p.network.unroll(x)}
    assert list(steps) == list(itertools.product(*map(range, x.shape[1:])))
    by_step = sum(Bernoulli(raw[:, 0]).log_prob(x[:, r, l]) for (r, l), raw in steps.items())
    torch.testing.assert_close(p.log_prob(whole_batch(every(2, shape))), by_step, rtol=0, atol=1e-12)


def test_rows_in_several_passes(monkeypatch):
    p, batch = model((1, 3, 3)), whole_batch(every(2, (1, 3, 3)))
    at_once = p.log_prob(batch)
    monkeypatch.setattr(autoregressive, "PASS_NUMBERS", 9 * 8 * 100)
    torch.testing.assert_close(p.log_prob(batch), at_once, rtol=0, atol=1e-12)


def test_gradients_reach_every_weight_and_are_right():
    p = model((1, 3, 3), CategoricalHead(3), Level(3, make_generator(0, "levels")))
    batch = whole_batch(every(3, (1, 3, 3))[::997])
    weights = dict(p.named_parameters())
    p.log_prob(batch).sum().backward()
    for name, weight in weights.items():
        assert weight.grad is not None, name
        k = int(weight.grad.abs().argmax())
        assert weight.grad.flatten()[k] != 0, name
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.view(-1)[k] += step
                values.append(p.log_prob(batch).sum().item())
                weight.view(-1)[k] -= step
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(weight.grad.flatten()[k].item(), rel=1e-5), name


# what is missing


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_observed", [0, 1, 4, 6])
def test_the_last_entries_are_summed_out(shape, n_observed):
    p, x = model(shape), every(2, shape)
    given = part(x, n_observed)
    same = (torch.where(given.mask, x, 0.0)[:, None] == torch.where(given.mask, x, 0.0)[None]).flatten(2).all(2)
    marginal = torch.where(same, p.log_prob(whole_batch(x)), -math.inf).logsumexp(1)
    torch.testing.assert_close(p.log_prob(given), marginal, rtol=0, atol=1e-12)


def test_what_is_missing_leaves_no_gradient():
    p = model((1, 3, 3))
    p.log_prob(part(every(2, (1, 3, 3)), 5)).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in p.parameters())


@pytest.mark.parametrize("verb", ["log_prob", "complete"])
def test_any_other_gap_is_refused(verb, noise):
    x = every(2, (1, 3, 3))[:2]
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[1, 0, 1, 1] = False
    batch, p = Batch(x, mask, torch.arange(2)), model((1, 3, 3))
    with pytest.raises(ValueError, match="observed after one that is missing"):
        p.log_prob(batch) if verb == "log_prob" else p.complete(batch, noise)


def test_constant_features_are_no_gap_and_read_as_zero():
    counted = torch.tensor([True, False, True, True])
    p, x = model((4,), counted=counted), every(2, (4,))
    batch = Batch(x, counted.expand_as(x), torch.arange(16))
    log_p = p.log_prob(batch)
    assert (log_p[x[:, 1] == 0] == log_p[x[:, 1] == 1]).all()
    assert log_p[x[:, 1] == 0].exp().sum().item() == pytest.approx(1, abs=1e-10)
    whole = p.log_prob(whole_batch(x))[x[:, 1] == 0]
    own = Bernoulli(p.network(grid_of(x))[:, 0, 1, 0]).log_prob(x[:, 1])[x[:, 1] == 0]
    torch.testing.assert_close(log_p[x[:, 1] == 0], whole - own, rtol=0, atol=1e-12)


# drawing


def within_four_standard_errors(frequency, probability, n):
    error = (probability * (1 - probability) / n).sqrt()
    assert ((frequency - probability).abs() <= 4 * error).all()


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2), (4,)])
def test_draws_follow_the_density(shape, noise):
    p, x, n = model(shape), every(2, shape), 40_000
    frequency = (p.sample(n, noise)[:, None] == x).flatten(2).all(2).double().mean(0)
    within_four_standard_errors(frequency, p.log_prob(whole_batch(x)).exp(), n)


def test_constant_features_stay_zero_in_draws(noise):
    counted = torch.tensor([True, False, True, True])
    p, x, n = model((4,), counted=counted), every(2, (4,)), 40_000
    frequency = (p.sample(n, noise)[:, None] == x).all(2).double().mean(0)
    log_p = p.log_prob(Batch(x, counted.expand_as(x), torch.arange(16)))
    within_four_standard_errors(frequency, torch.where(x[:, 1] == 0, log_p.exp(), 0.0), n)


def of_levels():
    return CategoricalHead(4), Level(4, make_generator(0, "levels"))


def of_bytes():
    scale = Scale("decoder", torch.tensor(0.3), torch.tensor(1e-3))
    return DiscretizedLogisticHead(scale), nn.Sequential(Values(DiscretizedLogistic.center), Number())


def of_numbers():
    return NormalHead(Scale("decoder", torch.tensor(1.0), torch.tensor(0.1))), Number()


@pytest.mark.parametrize("kind", [of_levels, of_bytes, of_numbers])
def test_draws_have_the_entropy_of_the_density(kind, noise):
    """E[log p(x_j | x_<j)] over draws is −H of the conditionals at the same x, in closed form or summed."""
    head, view = kind()
    p, n = model((1, 2, 2), head, view), 4000
    x = p.sample(n, noise)
    conditionals = p.conditionals(grid_of(x))
    mask = torch.ones(n, 2, 2, dtype=torch.bool)
    if isinstance(head, NormalHead):
        negative_entropy = -conditionals.scale.log() - 0.5 * math.log(2 * math.pi * math.e)
    else:
        n_categories = 4 if isinstance(head, CategoricalHead) else 256
        log_p = torch.stack([conditionals.log_prob(torch.full((n, 2, 2), float(k))) for k in range(n_categories)])
        negative_entropy = (log_p.exp() * log_p.clamp_min(-1e4)).sum(0)
    surplus = (p.log_prob(whole_batch(x)) - event_sum(negative_entropy, mask)[0]).detach()
    assert surplus.mean().abs() <= 4 * surplus.std() / math.sqrt(n)


@pytest.mark.parametrize("shape", [(1, 2, 2), (4,)])
def test_means_of_the_conditionals_have_the_mean_of_draws_and_vary_less(shape, noise):
    p, x, n = model(shape), every(2, shape), 20_000
    exact = (p.log_prob(whole_batch(x)).exp()[:, None] * x.flatten(1)).sum(0)
    means = p.sample(n, noise, mean=True).flatten(1)
    assert ((means.mean(0) - exact).abs() <= 4 * means.std(0) / math.sqrt(n) + 1e-12).all()
    assert (means.var(0) < exact * (1 - exact)).all()


@pytest.mark.parametrize("shape", [(1, 2, 2), (4,)])
def test_completion_keeps_what_is_known_and_draws_the_rest_given_it(shape, noise):
    p, n = model(shape), 40_000
    x = every(2, shape)
    given = part(x[5:6].expand(n, *shape), 2)
    completed = p.complete(given, noise)
    assert torch.equal(completed[given.mask], given.x[given.mask])
    frequency = (completed[:, None] == x).flatten(2).all(2).double().mean(0)
    conditional = (p.log_prob(whole_batch(x)) - p.log_prob(part(x, 2))).exp()
    agrees = (torch.where(given.mask[:1], x, 0.0) == torch.where(given.mask[:1], given.x[:1], 0.0)).flatten(1).all(1)
    within_four_standard_errors(frequency, torch.where(agrees, conditional, 0.0), n)


def test_the_same_noise_gives_the_same_draws():
    first, second = (model((1, 3, 3)).sample(5, Noise(make_generator(0, "draws"))) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_grid_and_back(shape):
    x = torch.arange(2 * math.prod(shape)).view(2, *shape)
    assert torch.equal(from_grid(grid_of(x), channels_of(shape)), x)
    if len(shape) == 3:
        assert torch.equal(grid_of(x)[0, 0, : shape[0]], x[0, :, 0, 0])  # the channels of the first pixel
