"""Those who train in ``throughput.py``: each for ever, saying after every epoch how many images it had.

All train the same network, 784-200-200-50 and back or a small convolutional one, on the same binary images.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from itertools import pairwise

import numpy as np

LATENT, HIDDEN, PIXELS, LEARNING_RATE = 50, 200, 784, 1e-3
Epoch = Callable[[int], None]  # told after every epoch how many images it had


def our_vae(model: str, **parameters):
    """The public estimator with the network that all have."""
    from lowerbound import MLP, VAE

    mlp = {"network": MLP((HIDDEN, HIDDEN), activation="tanh")}
    shape = {"image_shape": (28, 28), "network": torch_conv()} if model == "conv" else mlp
    return VAE(LATENT, random_state=0, **shape, **parameters)


def ours(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch, compiled: bool = False) -> None:
    from lowerbound import Adam, EarlyStopping
    from lowerbound.training.progress import ProgressWatch

    class Turns(ProgressWatch):
        """The bar that ``verbose=1`` shows, and a word after every epoch."""

        def on_start(self, training, data, validation):
            super().on_start(training, data, validation)
            self.trained = len(data)

        def on_epoch(self, training, record):
            super().on_epoch(training, record)
            epoch(self.trained)

    vae = our_vae(
        arguments.model, max_epochs=10_000, batch_size=arguments.batch, device=arguments.device,
        optimizer=Adam(LEARNING_RATE, compile=compiled), early_stopping=EarlyStopping(patience=10_000), verbose=1,
    )  # fmt: skip
    vae.fit(X, watch=Turns())


def compiled(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    ours(X, arguments, epoch, compiled=True)


def torch_conv():
    """Encoder without its last layer, and decoder."""
    from torch import nn

    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENT, 64 * 49), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )  # fmt: skip
    return encoder, decoder


def torch_networks(model: str):
    """Encoder to mean and log variance, decoder to logits."""
    from torch import nn

    if model == "conv":
        encoder, decoder = torch_conv()
        return nn.Sequential(encoder, nn.Linear(64 * 49, 2 * LATENT)), decoder
    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT)
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, PIXELS)
    )
    return encoder, decoder


def handwritten(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch, fused: bool | None = None) -> None:
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    encoder, decoder = (network.to(arguments.device) for network in torch_networks(arguments.model))
    data = torch.from_numpy(X).float().to(arguments.device)
    if arguments.model == "conv":
        data = data.view(-1, 1, 28, 28)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=fused)
    while True:
        order = torch.randperm(len(data), device=arguments.device)
        for first in range(0, len(data), arguments.batch):
            x = data[order[first : first + arguments.batch]]
            mean, log_variance = encoder(x).chunk(2, 1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            reconstruction = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
            loss = (reconstruction + kl) / len(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
        epoch(len(data))


def fused(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    handwritten(X, arguments, epoch, fused=True)


def jax_weights(key):
    """A function that draws a layer's weights, and gives its bias of zeros."""
    import jax
    from jax import numpy as jnp

    keys = iter(jax.random.split(key, 8))

    def weights(*shape: int, fan_in: int):
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound), jnp.zeros(shape[-1])

    return weights


def jax_mlp(key):
    """Parameters, encoder and decoder."""
    from jax import numpy as jnp

    weights = jax_weights(key)

    def layers(parameters, x):
        for w, b in parameters[:-1]:
            x = jnp.tanh(x @ w + b)
        w, b = parameters[-1]
        return x @ w + b

    sizes = ((PIXELS, HIDDEN, HIDDEN, 2 * LATENT), (LATENT, HIDDEN, HIDDEN, PIXELS))
    parameters = tuple([weights(n, m, fan_in=n) for n, m in pairwise(part)] for part in sizes)
    return parameters, layers, layers


def jax_conv(key):
    """Parameters, encoder and decoder."""
    import jax
    from jax import lax

    weights, form = jax_weights(key), ("NHWC", "HWIO", "NHWC")
    encoder = [weights(4, 4, 1, 32, fan_in=16), weights(4, 4, 32, 64, fan_in=512)]
    encoder += [weights(64 * 49, 2 * LATENT, fan_in=64 * 49)]
    decoder = [weights(LATENT, 64 * 49, fan_in=LATENT)]
    decoder += [weights(4, 4, 64, 32, fan_in=512), weights(4, 4, 32, 1, fan_in=512)]

    def encode(parameters, x):
        x = x.reshape(-1, 28, 28, 1)
        for w, b in parameters[:2]:
            x = jax.nn.relu(lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)], dimension_numbers=form) + b)
        w, b = parameters[2]
        return x.reshape(len(x), -1) @ w + b

    def decode(parameters, z):
        (w, b), one, two = parameters
        x = jax.nn.relu(z @ w + b).reshape(-1, 7, 7, 64)
        x = jax.nn.relu(lax.conv_transpose(x, one[0], (2, 2), "SAME", dimension_numbers=form) + one[1])
        return (lax.conv_transpose(x, two[0], (2, 2), "SAME", dimension_numbers=form) + two[1]).reshape(len(x), -1)

    return (encoder, decoder), encode, decode


def jax_step(encode, decode):
    """One step of Adam: (state, (x, key)) → (state, loss)."""
    import jax
    from jax import numpy as jnp

    def loss(parameters, x, key):
        encoder, decoder = parameters
        mean, log_variance = jnp.split(encode(encoder, x), 2, 1)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        logits = decode(decoder, z)
        reconstruction = (jax.nn.softplus(logits) - x * logits).sum()
        kl = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum()
        return (reconstruction + kl) / len(x)

    def step(state, batch):
        parameters, m, v, t = state
        value, g = jax.value_and_grad(loss)(parameters, *batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, m, v)
        return (parameters, m, v, t), value

    return step


def jax(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    import jax
    from jax import lax
    from jax import numpy as jnp

    parameters, *networks = (jax_mlp if arguments.model == "mlp" else jax_conv)(jax.random.key(0))
    step, data = jax_step(*networks), jnp.asarray(X, jnp.float32)
    n_batches = len(X) // arguments.batch  # scan wants batches of one size

    def one_epoch(state, key):
        order, noise = jax.random.split(key)
        shuffled = data[jax.random.permutation(order, len(data))[: n_batches * arguments.batch]]
        batches = shuffled.reshape(n_batches, arguments.batch, PIXELS)
        return lax.scan(step, state, (batches, jax.random.split(noise, n_batches)))

    one_epoch = jax.jit(one_epoch, donate_argnums=0)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), jnp.int32))
    for key in jax.random.split(jax.random.key(1), 10_000):
        state, losses = one_epoch(state, key)
        losses.block_until_ready()
        epoch(n_batches * arguments.batch)


def pythae_networks(arguments: argparse.Namespace):
    """Encoder and decoder as it wants them."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    networks = torch_networks(arguments.model)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = networks[0]

        def forward(self, x):
            mean, log_variance = self.network(x if arguments.model == "conv" else x.flatten(1)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = networks[1]

        def forward(self, z):
            return ModelOutput(reconstruction=self.network(z).sigmoid().view(-1, 1, 28, 28))

    return Encoder(), Decoder()


def pythae(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    from pythae.models import VAE, VAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Turns(TrainingCallback):
        def on_epoch_end(self, training_config, **_):
            epoch(len(X))

    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=10_000, learning_rate=LEARNING_RATE, keep_best_on_train=True,
            per_device_train_batch_size=arguments.batch, no_cuda=arguments.device == "cpu",
        )  # fmt: skip
        encoder, decoder = pythae_networks(arguments)
        shape = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
        model = VAE(shape, encoder=encoder, decoder=decoder)
        TrainingPipeline(model, config)(X.reshape(-1, 1, 28, 28).astype(np.float32), callbacks=[Turns()])
