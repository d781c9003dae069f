"""The convolutional networks: any size, no global state, every parameter in use."""

import copy
from itertools import pairwise

import pytest
import torch

from lowerbound.nn.conv import ConvDecoder, ConvEncoder, grids

SHAPES = [
    (1, 28, 28),
    (1, 28, 20),
    (1, 17, 31),
    (1, 8, 8),
    (3, 64, 64),
    (3, 33, 65),
    (1, 2, 2),
    (2, 3, 2),
    (1, 2, 50),
    (4, 5, 9),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder(event_shape=(1, 17, 12), seed=0, **keywords):
    return ConvEncoder(event_shape, 6, generator=generator(seed), **keywords)


def decoder(event_shape=(1, 17, 12), n_parameters=2, seed=0, **keywords):
    return ConvDecoder(5, event_shape, n_parameters, generator=generator(seed), **keywords)


@pytest.mark.parametrize("event_shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_encoder_takes_images_of_any_size(event_shape, batch):
    x = torch.rand(batch, *event_shape, generator=generator())
    assert encoder(event_shape)(x).shape == (batch, 6)


@pytest.mark.parametrize("event_shape", SHAPES)
@pytest.mark.parametrize(("batch", "n_parameters"), [(1, 1), (3, 2), (2, 5)])
def test_decoder_gives_images_of_any_size(event_shape, batch, n_parameters):
    network = decoder(event_shape, n_parameters)
    z = torch.randn(batch, 5, generator=generator())
    assert network(z).shape == (batch, n_parameters, *event_shape)
    assert network.bias.shape == (n_parameters, *event_shape)


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8, 10)])
def test_channels_repeat_the_last_or_are_left_over(channels):
    x = torch.rand(2, 1, 40, 40, generator=generator())
    features = encoder((1, 40, 40), channels=channels)(x)
    z = torch.randn(2, 5, generator=generator())
    assert features.shape == (2, 6)
    assert decoder((1, 40, 40), channels=channels)(z).shape == (2, 2, 1, 40, 40)


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (9, 9), (28, 28), (17, 31), (64, 64), (3, 1000)])
def test_grids_halve_down_to_few_places(size):
    sizes = grids(*size)
    assert sizes[0] == size
    assert len(sizes) >= 2
    assert sizes[-1][0] * sizes[-1][1] <= 64
    assert all(small == -(-large // 2) for a, b in pairwise(sizes) for large, small in zip(a, b, strict=True))


@pytest.mark.parametrize("event_shape", SHAPES)
def test_gradients_reach_every_parameter(event_shape):
    x = torch.rand(2, *event_shape, generator=generator())
    z = torch.randn(2, 5, generator=generator())
    for network, given in ((encoder(event_shape), x), (decoder(event_shape), z)):
        network(given).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_decoder_depends_on_z_in_every_pixel():
    z = torch.randn(2, 5, generator=generator())
    one, other = decoder((2, 17, 31))(z)
    assert (one != other).all()


def test_encoder_sees_every_pixel():
    x = torch.rand(1, 2, 17, 31, generator=generator()).requires_grad_()
    encoder((2, 17, 31))(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_bias_is_added_to_the_output():
    network, z = decoder(), torch.randn(2, 5, generator=generator())
    before = network(z)
    with torch.no_grad():
        network.bias.copy_(torch.arange(network.bias.numel()).view_as(network.bias))
    torch.testing.assert_close(network(z) - before, network.bias.expand_as(before), atol=1e-4, rtol=1e-5)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    for make in (encoder, decoder):
        first, again, other = make(seed=1), make(seed=1), make(seed=2)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
        assert all(torch.isfinite(parameter).all() for parameter in first.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_float64_copies_and_rows_agree():
    x = torch.rand(3, 1, 17, 12, generator=generator(), dtype=torch.float64)
    z = torch.randn(3, 5, generator=generator(), dtype=torch.float64)
    for network, given in ((encoder(), x), (decoder(), z)):
        single = network(given.float())
        network = copy.deepcopy(network).double()
        double = network(given)
        assert double.dtype == torch.float64
        torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.cat([network(row[None]) for row in given]), double)


def test_without_a_generator_the_global_state_is_left_alone():
    state = torch.get_rng_state()
    first, again = (ConvDecoder(5, (1, 9, 7), 1) for _ in range(2))
    assert ConvEncoder((1, 9, 7), 4)(torch.zeros(1, 1, 9, 7)).shape == (1, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
