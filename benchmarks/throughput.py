"""Images a second in training, against what one would otherwise use; and how close log p(x) comes to the machine.

    pip install -r benchmarks/requirements-throughput.txt
    python benchmarks/throughput.py train --data mnist.npz --model mlp --batch 100 --threads 2
    python benchmarks/throughput.py score --data mnist.npz --threads 2

``train`` takes turns: every contender is a process of its own, pinned to the same cores, that trains one epoch at a
time when it is told to, so that whatever disturbs the machine disturbs all of them. The first epoch (compilation,
caches) is reported apart; then medians over the epochs and ratios to the hand-written loop. One call measures one cell
and merges it into ``benchmarks/results/throughput.json`` with its command, commit and machine.

ours         ``VAE.fit`` as a user calls it: held-out rows validated each epoch, history, a progress bar on a terminal
compiled     the same with ``compile=True``
handwritten  the shortest PyTorch loop that does the work: index slices of one tensor, torch.optim.Adam
fused        the same with ``fused=True``
jax          the whole epoch, shuffle included, as one ``jax.jit`` of a ``lax.scan``
pythae       its ``TrainingPipeline``

All train the same network with the same batch size on the same binary images; epochs end when the last step is done.
``score`` measures importance-weighted log p(x) against the arithmetic that its matrix products need.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LATENT, HIDDEN, PIXELS, LEARNING_RATE = 50, 200, 784, 1e-3
OURS = ("ours", "compiled")
CONTENDERS = ("ours", "compiled", "handwritten", "fused", "jax", "pythae")
Epoch = Callable[[int], None]  # told after every epoch how many images it had


def images(path: Path, rows: int, split: str = "x_train") -> np.ndarray:
    """Binary images, (n, 784) of 0 and 1."""
    with np.load(path) as archive:
        return (archive[split][:rows].reshape(-1, PIXELS) > 127).astype(np.uint8)


# the contenders: each trains for ever, and says so after every epoch


def ours(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch, compiled: bool = False) -> None:
    from lowerbound import VAE
    from lowerbound.estimators.progress import ProgressWatch

    class Turns(ProgressWatch):
        """The bar that ``verbose=1`` shows, and a word after every epoch."""

        def on_start(self, training, data, validation):
            super().on_start(training, data, validation)
            self.trained = len(data)

        def on_epoch(self, training, record):
            super().on_epoch(training, record)
            epoch(self.trained)

    shape = {"image_shape": (28, 28), "network": torch_conv()} if arguments.model == "conv" else {"network": "mlp"}
    vae = VAE(
        LATENT, hidden_layer_sizes=(HIDDEN, HIDDEN), activation="tanh", batch_size=arguments.batch, lr=LEARNING_RATE,
        max_epochs=10_000, n_iter_no_change=10_000, random_state=0, device=arguments.device, compile=compiled,
        verbose=1, **shape,
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


def jax_networks(model: str, key):
    """Parameters, encoder and decoder."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    keys = iter(jax.random.split(key, 8))

    def weights(*shape: int, fan_in: int):
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound), jnp.zeros(shape[-1])

    def dense(n_in: int, n_out: int):
        return weights(n_in, n_out, fan_in=n_in)

    def layers(parameters, x):
        for w, b in parameters[:-1]:
            x = jnp.tanh(x @ w + b)
        w, b = parameters[-1]
        return x @ w + b

    if model == "mlp":
        encoder = [dense(PIXELS, HIDDEN), dense(HIDDEN, HIDDEN), dense(HIDDEN, 2 * LATENT)]
        return (encoder, [dense(LATENT, HIDDEN), dense(HIDDEN, HIDDEN), dense(HIDDEN, PIXELS)]), layers, layers

    form = ("NHWC", "HWIO", "NHWC")
    encoder = [weights(4, 4, 1, 32, fan_in=16), weights(4, 4, 32, 64, fan_in=512), dense(64 * 49, 2 * LATENT)]
    decoder = [dense(LATENT, 64 * 49), weights(4, 4, 64, 32, fan_in=512), weights(4, 4, 32, 1, fan_in=512)]

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


def jax(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    import jax
    from jax import lax
    from jax import numpy as jnp

    parameters, encode, decode = jax_networks(arguments.model, jax.random.key(0))
    n_batches = len(X) // arguments.batch  # scan wants batches of one size
    data = jnp.asarray(X, jnp.float32)

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


def pythae(X: np.ndarray, arguments: argparse.Namespace, epoch: Epoch) -> None:
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

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

    class Turns(TrainingCallback):
        def on_epoch_end(self, training_config, **_):
            epoch(len(X))

    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=10_000, learning_rate=LEARNING_RATE, keep_best_on_train=True,
            per_device_train_batch_size=arguments.batch, no_cuda=arguments.device == "cpu",
        )  # fmt: skip
        shape = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
        model = VAE(shape, encoder=Encoder(), decoder=Decoder())
        TrainingPipeline(model, config)(X.reshape(-1, 1, 28, 28).astype(np.float32), callbacks=[Turns()])


# taking turns


def work(arguments: argparse.Namespace) -> None:
    """What one process does: an epoch, its images a second to stdout, wait for a line on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the terminal
    started = time.perf_counter()

    def epoch(rows: int) -> None:
        nonlocal started
        print(json.dumps({"images": rows, "seconds": time.perf_counter() - started}), file=answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        started = time.perf_counter()

    globals()[arguments.contender](images(arguments.data, arguments.rows), arguments, epoch)


class Contender:
    """A process with a terminal for its progress bar."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
        keep = {"model", "batch", "rows", "threads", "device", "data"}
        options = [f"--{k}={v}" for k, v in vars(arguments).items() if k in keep]
        threads = str(arguments.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "NPROC": threads}
        self.terminal, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "work", "--contender", name, *options], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        os.close(terminal)
        self.shown = b""
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        try:
            while part := os.read(self.terminal, 4096):
                self.shown = (self.shown + part)[-4000:]
        except OSError:  # the other end is closed
            pass

    def wait(self) -> dict:
        """The epoch that is under way."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"a contender ended:\n{self.shown.decode(errors='replace')}")
        return json.loads(line)

    def epoch(self) -> float:
        """Train one more; images a second."""
        self.process.stdin.write("go\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer = self.wait()
        return answer["images"] / answer["seconds"]


def train(arguments: argparse.Namespace) -> dict:
    names = arguments.contenders.split(",")
    contenders, first, rates = {}, {}, {name: [] for name in names}
    for name in names:
        contenders[name] = Contender(name, arguments)
        first[name] = round(contenders[name].wait()["seconds"], 2)
    for _ in range(arguments.rounds):
        for name in names:
            rates[name].append(contenders[name].epoch())
    for contender in contenders.values():
        contender.process.stdin.close()
        contender.process.wait()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "images_per_second": {name: round(value) for name, value in medians.items()},
        "fewest_and_most": {name: [round(min(v)), round(max(v))] for name, v in rates.items()},
        "first_epoch_seconds": first,
        "ratio": {f"{mine} / {other}": round(medians[mine] / medians[other], 3)
                  for mine in names if mine in OURS for other in names if other not in OURS},
        "rows": arguments.rows, "rounds": arguments.rounds,
    }  # fmt: skip


# log p(x)


def score(arguments: argparse.Namespace) -> dict:
    """Samples a second of importance-weighted log p(x), and what the matrix products alone would allow."""
    import resource

    import torch

    from lowerbound import VAE

    torch.set_num_threads(arguments.threads)
    X = images(arguments.data, arguments.rows)
    vae = VAE(
        LATENT, network="mlp", hidden_layer_sizes=(HIDDEN, HIDDEN), activation="tanh", max_epochs=1, batch_size=100,
        early_stopping=False, random_state=0, device=arguments.device,
    ).fit(images(arguments.data, 10_000))  # fmt: skip
    K, rates, products = arguments.n_importance, [], []
    flops = 2 * (LATENT * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS)
    vae.log_likelihood(X[:2], K)
    for _ in range(arguments.rounds):
        products.append(product_rate(arguments.device))
        started = time.perf_counter()
        result = vae.log_likelihood(X, K)
        rates.append(len(X) * K / (time.perf_counter() - started))
    rate, product = statistics.median(rates), statistics.median(products)
    return {
        "samples_per_second": round(rate), "n_importance": K, "rows": len(X), "flops_per_sample": flops,
        "product_gflops": round(product / 1e9, 1), "floor_samples_per_second": round(product / flops),
        "part_of_floor": round(rate * flops / product, 3), "rounds": arguments.rounds,
        "log_p": result.to_dict(), "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def product_rate(device: str, samples: int = 2500, seconds: float = 1.0) -> float:
    """Floating-point operations a second of the decoder's three matrix products, and nothing else."""
    import torch

    shapes = ((LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, PIXELS))
    pairs = [(torch.rand(samples, n, device=device), torch.rand(m, n, device=device)) for n, m in shapes]
    outputs = [x @ w.T for x, w in pairs]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for (x, w), out in zip(pairs, outputs, strict=True):
            torch.mm(x, w.T, out=out)
        done += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return done * samples * sum(2 * n * m for n, m in shapes) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "score", "work"), help="work: what each contender's process runs")
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz with x_train")
    parser.add_argument("--model", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=None, help="60,000 to train, 200 to score")
    parser.add_argument("--rounds", type=int, default=5, help="epochs, or scorings, that the medians are of")
    parser.add_argument("--n-importance", type=int, default=5000)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "throughput.json")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or (200 if arguments.what == "score" else 60_000)
    if arguments.what == "work":
        work(arguments)
        return
    from density import machine, revision

    from lowerbound.data.storage import write_text

    where = f"{arguments.device}, {arguments.threads} threads" if arguments.device == "cpu" else arguments.device
    what = f"{arguments.model}, batch {arguments.batch}" if arguments.what == "train" else "log p(x), mlp"
    cell = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "mnist.npz"),
        "commit": revision(),
        "machine": machine() | {"threads": arguments.threads},
        **(train if arguments.what == "train" else score)(arguments),
    }
    print(json.dumps(cell, indent=1))
    cells = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    write_text(arguments.output, json.dumps({**cells, f"{what}, {where}": cell}, indent=1) + "\n")


if __name__ == "__main__":
    main()
