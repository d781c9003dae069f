"""Variance and signal-to-noise ratio of gradient estimators, where they are known and where training starts.

    python benchmarks/gradients.py --data mnist.npz

The toy is that of Rainforth et al. (2018, arXiv:1802.04537) and Tucker et al. (2018, arXiv:1810.04152): D = 20,
z ~ N(μ, I), x ~ N(z, I), q = N(x/2 + b, ⅔ I), b = μ/2 + 0.01·noise, gradient in b, averaged over coordinates; all of it
depends on x − μ alone, so μ = 0 here. Then digits: a VAE at the weights that training starts from. Prints both beside
what is expected and writes ``benchmarks/results/gradients.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from density import machine, revision
from torch import Tensor

from lowerbound import VAE, BernoulliLikelihood
from lowerbound.core import Draw, ObjectiveState
from lowerbound.diagnostics import gradient_variance
from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import make_objective
from lowerbound.storage.atomic import write_text

D = 20
NUMBERS_IN_A_PASS = 2**21
DRAWS = {1: 100_000, 4: 100_000, 16: 40_000, 64: 20_000, 256: 8_000, 1024: 4_000}  # by K
ESTIMATORS = {
    "pathwise": {"gradient": "pathwise"},
    "stl": {"gradient": "stl"},
    "dreg": {"gradient": "dreg"},
    "vimco": {"gradient": "vimco"},
    "score": {"gradient": "score", "baseline": "none"},
    "score, leave one out": {"gradient": "score"},
}
ANOTHER_PROGRAM = {  # K: variances of pathwise, STL, DReG, VIMCO, score; signal-to-noise ratios of pathwise and DReG
    1: (2.67, 0.167, 0.167, None, 139, 0.0116, 0.0465),
    4: (0.741, 0.0463, 0.0105, 0.254, 401, 0.0061, 0.0512),
    16: (0.190, 0.0119, 3.0e-4, 0.041, 1.5e3, 0.0031, 0.0788),
    64: (0.0478, 0.0030, 5.5e-6, 0.0096, 5.8e3, 0.0016, 0.146),
}
COLUMNS = ("pathwise", "stl", "dreg", "vimco", "score", "snr pathwise", "snr dreg")
# log w + this is what remains of it when the constants of p and q are left out
CONSTANTS = D / 2 * (2 * math.log(2 * math.pi) - math.log(2 * math.pi * 2 / 3))


def toy_gradients(n: int, x: Tensor, b: Tensor, options: dict, shift: float = 0.0) -> Tensor:
    """n draws of the gradient in b, (n, D): every row has a b of its own."""
    objective, noise = make_objective(**options), Noise(make_generator(0, "toy"))
    drawn, n_rows = [], max(1, NUMBERS_IN_A_PASS // (D * objective.samples))
    for first in range(0, n, n_rows):
        rows = min(n_rows, n - first)
        own_b = b.expand(rows, D).clone().requires_grad_()
        q = DiagonalGaussian(x / 2 + own_b, torch.full_like(own_b, 0.5 * math.log(2 / 3)))
        z = q.rsample((objective.samples,), noise)
        z = z.detach() if objective.gradient == "score" else z
        zeros = torch.zeros_like(own_b)
        log_px = DiagonalGaussian(x.expand_as(own_b), zeros).log_prob(z) + shift
        density = q.detach() if objective.gradient == "fixed_density" else q
        draw = Draw(z, log_px, StandardNormal(D, zeros), q, density)
        drawn.append(torch.autograd.grad(objective.loss(draw, ObjectiveState()).sum(), own_b)[0])
    return torch.cat(drawn)


def variance(gradients: Tensor) -> dict:
    squares = (gradients - gradients.mean(0)).square().mean(1)
    return {"value": squares.mean().item(), "standard_error": squares.std().item() / math.sqrt(len(squares))}


def toy(n_scale: float) -> dict:
    """The table; the signal is the mean of DReG, which all unbiased estimators share and it knows best."""
    numbers = lambda purpose: torch.randn(D, generator=make_generator(0, purpose), dtype=torch.float64)  # noqa: E731
    b, unit = 0.01 * numbers("b"), numbers("x")
    table = {}
    for K, draws in DRAWS.items():
        n = max(400, round(draws * n_scale))
        named = {k: o for k, o in ESTIMATORS.items() if K > 1 or (k != "vimco" and "leave" not in k)}
        bound = {"objective": "iwae", "n_samples": K}
        drawn = {k: toy_gradients(n, 2**0.5 * unit, b, bound | o) for k, o in named.items()}
        row: dict = {"draws": n, "variance": {k: variance(g) for k, g in drawn.items()}}
        without = bound | ESTIMATORS["score"]
        typical = unit * math.sqrt(D) / unit.norm()
        row["variance"]["score, constants left out"] = variance(toy_gradients(n, typical, b, without, CONSTANTS))
        signal = drawn["dreg"].mean(0).abs()
        row["snr"] = {k: (signal / drawn[k].std(0)).mean().item() for k in ("pathwise", "dreg")}
        error = drawn["pathwise"].sub(drawn["dreg"]).std(0) / math.sqrt(n)
        row["pathwise_mean_off_in_errors"] = (
            ((drawn["pathwise"] - drawn["dreg"]).mean(0) / error.clamp_min(1e-300)).abs().max().item()
        )
        table[K] = row
    row = variance(toy_gradients(DRAWS[1], 2**0.5 * unit, b, {"objective": "elbo"}))
    return {
        "importance_weighted": table,
        "elbo_analytic_kl": row,
        "slopes": slopes(table),
        "mean_offset": b.abs().mean().item(),
    }


def slopes(table: dict) -> dict:
    """d log SNR / d log K between neighbors."""

    def between(name: str) -> list[float]:
        snr = {K: row["snr"][name] for K, row in table.items()}
        return [math.log(snr[b] / snr[a]) / math.log(b / a) for a, b in pairwise(snr)]

    return {name: between(name) for name in ("pathwise", "dreg")}


def digits(X: np.ndarray, n: int) -> dict:
    """Encoder's and decoder's gradient before the first step, by estimator, and the size of the learning signal."""
    vae = VAE(20, network="mlp", random_state=0, device="cpu", likelihood=BernoulliLikelihood("sample"))
    estimators = {
        "pathwise": {},
        "pathwise, KL sampled": {"objective": "elbo_sampled"},
        "stl": {"objective": "elbo_sampled", "gradient": "stl"},
        "score": {"gradient": "score", "baseline": "none"},
        "score, running": {"gradient": "score", "baseline": "running"},
        "pathwise, 4 draws": {"n_samples": 4},
        "score, leave one out, 4 draws": {"gradient": "score", "n_samples": 4},
    }
    found = gradient_variance(vae, X, estimators, n, batch_size=100)
    vae.begin_fit(X)
    parts = {"rows": len(X), "batch_size": 100, "draws": n, "latent_dim": 20, "hidden_layer_sizes": [200, 200]}
    with torch.no_grad():
        batch = next(vae.fitted_.rows(X[:500]).batches(500, vae.fitted_.noise("binarization")))
        log_px = vae.model_.draw(batch, vae.posterior_, make_objective(n_samples=50), vae.fitted_.noise("z")).log_px
    parts["log_px"] = {
        "mean": log_px.mean().item(), "root_mean_square": log_px.square().mean().sqrt().item(),
        "sd_over_rows": log_px.mean(0).std().item(), "sd_over_z": log_px.std(0).square().mean().sqrt().item(),
    }  # fmt: skip
    parts["gradients"] = {
        name: {
            group: {
                "variance": [moments.variance.value, moments.variance.standard_error],
                "snr": [moments.snr.value, moments.snr.standard_error],
            }
            for group, moments in groups.items()
        }
        for name, groups in found.items()
    }
    return parts


def show_toy(result: dict) -> None:
    print("toy, D = 20: variance, and signal-to-noise ratio; second line: by another program")
    print(f"{'K':>5}", *(f"{c:>13}" for c in COLUMNS), f"{'score, l.o.o.':>13}")
    for K, row in result["importance_weighted"].items():
        v = {k: m["value"] for k, m in row["variance"].items()}
        cells = [v["pathwise"], v["stl"], v["dreg"], v.get("vimco"), v["score, constants left out"]]
        cells += [row["snr"]["pathwise"], row["snr"]["dreg"], v.get("score, leave one out")]
        print(f"{K:>5}", *(f"{'–' if c is None else format(c, '.3g'):>13}" for c in cells))
        if K in ANOTHER_PROGRAM:
            print(f"{'':>5}", *(f"{'–' if c is None else format(c, '.3g'):>13}" for c in ANOTHER_PROGRAM[K]))
    exact = result["elbo_analytic_kl"], result["importance_weighted"][1]["variance"]["pathwise"]
    print("ELBO: KL in closed form {:.4f} ± {:.4f} (2/3); ".format(*exact[0].values()), end="")
    print("KL sampled {:.4f} ± {:.4f} (8/3)".format(*exact[1].values()))
    for name in ("pathwise", "dreg"):
        print(f"slopes of log SNR {name}:", *(f"{s:.2f}" for s in result["slopes"][name]))
    print(
        f"signal: b is off by {result['mean_offset']:.4f} on average (0.008 expected); every SNR is proportional to it"
    )
    full = [f"{row['variance']['score']['value']:.3g}" for row in result["importance_weighted"].values()]
    print("score column: constants of p and q left out, ‖x − μ‖² = 20; with all constants, x ~ p:", *full)


def show_digits(result: dict) -> None:
    signal, gradients = result["log_px"], result["gradients"]
    print(f"\ndigits before the first step ({result['rows']} rows, minibatches of {result['batch_size']})")
    reference = gradients["pathwise"]["encoder"]["variance"][0]
    for name, groups in gradients.items():
        (value, error), (snr, _) = groups["encoder"]["variance"], groups["encoder"]["snr"]
        ratio = value / reference
        print(f"  {name:<30} encoder: variance {value:.3g} ± {error:.1g}, {ratio:.3g} × pathwise; SNR {snr:.3g}")
    rms, over_z, over_rows = (signal[k] for k in ("root_mean_square", "sd_over_z", "sd_over_rows"))
    print(
        f"  Why: the score function multiplies ∇ log q by log p(x|z), {signal['mean']:.0f} nats on average (root mean\n"
        f"  square {rms:.0f}), of which only {over_z:.2g} nats (sd over z of a row) say which z is better.\n"
        f"  Pathwise gradients see but its slope in each of the {result['latent_dim']} latent variables:\n"
        f"  (log p)² / slope² is {result['latent_dim'] * (rms / over_z) ** 2:.1g}. A running mean removes all but the\n"
        f"  {over_rows:.0f} nats by which rows differ; the row's other draws remove those too."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz with x_train")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "gradients.json")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of draws of the toy")
    parser.add_argument("--draws", type=int, default=200, help="of the gradient on digits")
    arguments = parser.parse_args()
    commit = revision()
    with np.load(arguments.data) as archive:
        X = archive["x_train"][:2000]
    started = time.perf_counter()
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "mnist.npz"),
        "commit": commit, "machine": machine(),
        "toy": toy(arguments.scale), "digits": digits(X, arguments.draws),
    }  # fmt: skip
    record["seconds"] = round(time.perf_counter() - started, 1)
    show_toy(record["toy"])
    show_digits(record["digits"])
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
