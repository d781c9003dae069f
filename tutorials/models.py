"""From "why model p(x)?" to the reparameterization trick, with code that checks every claim.

    python tutorials/models.py [folder] [--quick]

This tutorial introduces variational autoencoders by way of simpler models, each of which has a limitation that the
next one removes. Every section is a function: its docstring is the text, which is printed, and its body runs what the
text claims, on scikit-learn's 8×8 digits or on small problems whose answer is known. Measured numbers come with a
standard error; numbers that are called exact are exact.

It takes a minute or two and writes its pictures to ``runs/models/``; ``--quick`` trains less.
"""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound import (
    ELBO,
    MCEM,
    MLP,
    PPCA,
    RBM,
    VAE,
    Adam,
    Amortized,
    Autoencoder,
    CollapsedPosteriorWarning,
    Factorized,
    GaussianLikelihood,
    MeanField,
    Mixture,
    PixelRNN,
    diagnostics,
)
from lowerbound.core import Batch, Posterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.estimate import mean_over_rows
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference import em
from lowerbound.inference.posteriors import StartAtPrior
from lowerbound.models.ppca import LinearGaussian, spectrum
from lowerbound.nn.initialization import initialize_

N_HELD_OUT = 360
MOST_PIXELS = 16  # whose images the unnormalized network agrees to sum over
BLUE, RED, GREY = "#2f6fa7", "#c4473a", "#8a8a8a"


@dataclass(frozen=True)
class Lesson:
    """Where the pictures go, and how much work there may be."""

    folder: Path
    quick: bool

    def choose(self, full, quick):
        """The first for the whole tutorial, the second for a quick run."""
        return quick if self.quick else full


# ----------------------------------------------------------------------------------------------------------------------
# The digits
# ----------------------------------------------------------------------------------------------------------------------


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Grey digits of 8×6 pixels, levels 0 to 16, in rows to fit and rows held out.

    The outermost columns are left out: their pixels are nearly always 0.
    """
    images = load_digits().images[:, :, 1:7]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[N_HELD_OUT:]], images[order[:N_HELD_OUT]]


def binary_digits() -> tuple[np.ndarray, np.ndarray]:
    """The same, cut at half of the ink: every pixel is 0 or 1."""
    train, test = digits()
    return (train >= 8).astype(np.uint8), (test >= 8).astype(np.uint8)


def tiny_digits() -> tuple[np.ndarray, np.ndarray]:
    """The same in 4×3 pixels, each the mean of 2×2, cut at half of the ink."""
    train, test = (x.reshape(-1, 4, 2, 3, 2).mean((2, 4)) >= 8 for x in digits())
    return train.astype(np.uint8), test.astype(np.uint8)


def mean_and_error(values) -> tuple[float, float]:
    """The mean of independent numbers and its standard error."""
    values = np.asarray(values, np.float64)
    return values.mean().item(), values.std(ddof=1).item() / math.sqrt(len(values))


def noise(purpose: str) -> Noise:
    """Randomness of a section's own: nothing global is touched."""
    return Noise(make_generator(0, purpose))


# ----------------------------------------------------------------------------------------------------------------------
# Models of p(x)
# ----------------------------------------------------------------------------------------------------------------------


def why_model_p(lesson: Lesson) -> dict:
    """1. Why model p(x)?

    With p(x) one can draw new x, say which of two x is the more unusual one, and fill in a missing part of x with
    values that go with the rest. A model is judged by the log-probability that it gives to rows it has not seen. Its
    probabilities sum to one, so what it gives to images that do not occur is lost for those that do.

    Our x are digits of 8×6 pixels, each black or white. There are 2⁴⁸ such images. A model that knows nothing gives
    each the same probability:
    """
    train, test = binary_digits()
    nothing = -math.log(2) * test[0].size
    print(
        f"log p(x) = −48 log 2 = {nothing:.2f} nats. There are {len(train)} digits to fit and {len(test)} to test with."
    )
    return {"uniform": nothing}


class UnnormalizedNetwork:
    """p(x) = p̃(x)/Z for small binary images, log p̃ a convolutional network, Z = Σ p̃(x) over every image there is."""

    def __init__(self, height: int, width: int, seed: int = 0) -> None:
        n_pixels = height * width
        if n_pixels > MOST_PIXELS:
            raise ValueError(
                f"{height}×{width} pixels make 2^{n_pixels} = {2**n_pixels:,} images, over all of which p̃ would have "
                f"to be summed; at most {MOST_PIXELS} pixels are taken, {2**MOST_PIXELS:,} images"
            )
        self.places = 2 ** torch.arange(n_pixels)
        bits = torch.arange(2**n_pixels)[:, None] // self.places % 2
        self.images = bits.float().reshape(-1, 1, height, width)
        self.network = nn.Sequential(
            skip_init(nn.Conv2d, 1, 16, 3, padding=1), nn.SiLU(), skip_init(nn.Conv2d, 16, 16, 3, padding=1), nn.SiLU(),
            nn.Flatten(), skip_init(nn.Linear, 16 * n_pixels, 1),
        )  # fmt: skip
        initialize_(self.network, make_generator(seed, "weights"))

    def log_probabilities(self) -> Tensor:
        """log p(x) = log p̃(x) − log Σ_x' p̃(x') of every image, shape (2^pixels,)."""
        return self.network(self.images).flatten().log_softmax(0)

    def fit(self, X: np.ndarray, n_steps: int):
        """Maximize the mean log p(x); each gradient step sums over all images."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2, weight_decay=1e-4)
        for _ in range(n_steps):
            loss = -self.log_probabilities()[self._number(X)].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self

    @torch.no_grad()
    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """log p(x) of every row, exact."""
        return self.log_probabilities()[self._number(X)].double().numpy()

    def _number(self, X: np.ndarray) -> Tensor:
        """The place of each row among all images."""
        return torch.from_numpy(X.reshape(len(X), -1)).long() @ self.places


def unnormalized_network(lesson: Lesson) -> dict:
    """2. Any network is a p(x), up to one number

    Take any network from images to numbers and call its output log p̃(x). Then p̃(x)/Z, with Z = Σ_x p̃(x), is a
    distribution, as flexible as the network. But the sum is over all images. With 4×3 pixels there are 4,096 of them,
    which is few enough to compute the sum, and its gradient in each step. With 8×6 pixels it is out of reach.
    """
    train, test = tiny_digits()
    started = time.perf_counter()
    network = UnnormalizedNetwork(4, 3).fit(train, lesson.choose(200, 25))
    seconds = time.perf_counter() - started
    sum_of_all = network.log_probabilities().double().exp().sum().item()
    of_larger = UnnormalizedNetwork(4, 4).log_probabilities().double().exp().sum().item()
    learned = mean_over_rows(torch.from_numpy(network.score_samples(test)), "exact")
    independent = Factorized().fit(train).log_likelihood(test)
    print(f"4×3 pixels: the 4,096 probabilities sum to {sum_of_all:.6f} (4×4 pixels, untrained: {of_larger:.6f})")
    print(f"  log p(x), unnormalized network  {learned}, fitted in {seconds:.1f} s")
    print(f"  log p(x), independent pixels    {independent}")
    refusal = ""
    try:
        UnnormalizedNetwork(8, 6)
    except ValueError as error:
        refusal = str(error)
    print(f"8×6 pixels: refused. {refusal}")
    return {"sum": sum_of_all, "sum 4×4": of_larger, "network": learned, "independent": independent, "refusal": refusal}


def explicit_models(lesson: Lesson) -> dict:
    """3. Models that need no Z, or a small one

    Other models sum to one by construction, or have a Z that can be computed.

    Independent pixels, p(x) = Π_j p(x_j): each pixel has a probability of its own. Dependence between pixels, and so
    the shapes of digits, can't be described.

    A mixture, p(x) = Σ_k π_k Π_j p(x_j|k): each of K components is an image of probabilities. To describe strokes
    that are thick or thin *and* slanted or upright, it needs a component for each combination.

    A restricted Boltzmann machine, p(x) = Σ_h exp(b·x + c·h + x·Wh)/Z, combines 20 hidden units freely. It has a Z,
    but given h the pixels can be summed over one by one, which leaves 2²⁰ terms. With 500 hidden units this is not
    possible.

    The chain rule, p(x) = Π_j p(x_j | x_<j), holds for every distribution. A recurrent network reads the pixels one
    after another and predicts the next. The likelihood is exact, but drawing takes one step for each pixel, and the
    model has no short description of an image.

    A variational autoencoder is a mixture with infinitely many components: in place of k it has a vector z of real
    numbers, and a network computes the pixels' probabilities from z. The other sections are about how to fit it. Its
    log p(x) is a lower bound, which is printed as "≥".
    """
    train, test = binary_digits()
    fit_by_steps = {"random_state": 0, "optimizer": Adam(4e-3)}
    models = {
        "independent pixels": Factorized(),
        "mixture of 40": Mixture(40, random_state=0),
        "RBM, 20 hidden": RBM(n_hidden=20, max_epochs=lesson.choose(150, 15), burn_in=300, lr=0.1, random_state=0),
        "PixelRNN": PixelRNN(hidden_size=48, max_epochs=lesson.choose(40, 4), batch_size=64, **fit_by_steps),
        "VAE": VAE(16, max_epochs=lesson.choose(200, 15), batch_size=64, **fit_by_steps),
    }
    found: dict = {}
    print(f"log p(x) of {len(test)} digits that were not seen, in nats a digit; seconds to draw 200:")
    pictures = {"digits": test[:16]}
    for name, model in models.items():
        model.fit(train)
        options = {"n_importance": lesson.choose(1000, 100)} if name == "VAE" else {}
        found[name] = model.log_likelihood(test, **options)
        started = time.perf_counter()
        pictures[name] = model.sample(200)[:16]
        print(f"  {name:20} {found[name]}   {time.perf_counter() - started:5.2f} s")
    draw_strips(pictures, lesson.folder / "samples.png")
    return found


def draw_strips(pictures: dict[str, np.ndarray], path: Path) -> None:
    """Sixteen images of each model in a row of its own."""
    figure = Figure(figsize=(9, 1.05 * len(pictures)), dpi=120, layout="constrained")
    for axes, (name, images) in zip(figure.subplots(len(pictures), 1), pictures.items(), strict=True):
        strip = np.pad(images.astype(float), ((0, 0), (1, 1), (1, 1)), constant_values=0.4)
        axes.imshow(np.hstack(list(strip)), cmap="gray_r", vmin=0, vmax=1)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.savefig(path)


# ----------------------------------------------------------------------------------------------------------------------
# Latent variables
# ----------------------------------------------------------------------------------------------------------------------


def latent_variables(lesson: Lesson) -> dict:
    """4. Latent variables, where everything can still be computed

    Let z ~ N(0, I) be a short vector that is not observed, and let x depend on it. The simplest dependence is a
    linear one, x = Wz + μ + σε: probabilistic principal component analysis (PPCA). As sums of normal variables are
    normal, p(x) = N(μ, WWᵀ + σ²I) and the posterior p(z|x) are known. The best W has a closed form, by eigenvectors.

    The EM algorithm finds the same W in steps, and also works for models without a closed form: the E-step computes
    p(z|x) for the present W, the M-step the W that maximizes the expected log p(x, z). The likelihood never falls.

    The data are the grey levels 0, 1, … 16 with uniform noise in [0, 1) added. That makes them real numbers whose
    density is, in expectation, a lower bound of the probability of the levels. They are not the data of the sections
    above, so their log p(x) must not be compared with the numbers there. PPCA has one σ for all pixels, while
    independent normal pixels have one each; so PPCA is better with eight latent variables, but not with two.
    """
    random = np.random.default_rng(1)
    train, test = (x.reshape(len(x), -1) + random.uniform(size=(len(x), 48)) for x in digits())
    found: dict = {"independent": Factorized().fit(train).log_likelihood(test)}
    print(f"  independent normal pixels  {found['independent']}")
    for D in (2, 8, 20):
        found[D] = PPCA(D, standardize=False).fit(train).log_likelihood(test)
        print(f"  PPCA, {D:2} latent variables  {found[D]}")
    x = torch.from_numpy(train)
    model = LinearGaussian((48,), 8)
    model.start(spectrum(x), make_generator(0, "em"))
    ascent = em.fit(model, lambda: [whole(x)], tol=1e-7, max_iter=1000)
    found["smallest step"] = np.diff(ascent.objective).min()
    found["closed form"] = PPCA(8, standardize=False).fit(train).score(train)
    found["em"] = ascent.objective[-1]
    print(f"EM from random weights: log p of the training rows {ascent.objective[0]:.3f} at the start, "
          f"{found['em']:.6f} after {ascent.n_iter} steps")  # fmt: skip
    print(f"  in closed form {found['closed form']:.6f}; the smallest gain of a step was {found['smallest step']:.1e}")
    return found


def whole(x: Tensor) -> Batch:
    """All rows in one batch, everything observed."""
    return Batch(x, torch.ones_like(x, dtype=torch.bool), torch.arange(len(x)))


def linear_gaussian(n_features: int, D: int, sigma: float = 0.5) -> LinearGaussian:
    """x = Wz + σε with a random W; its rows have about 1 + σ² of variance a feature."""
    model = LinearGaussian((n_features,), D).requires_grad_(False)
    model.weights.copy_(noise(f"W {D}").normal((n_features, D), model.weights) / math.sqrt(D))
    model.log_scale.fill_(math.log(sigma))
    return model


def draw_from(model: LinearGaussian, n: int) -> Tensor:
    """Rows whose distribution is the model's own."""
    source = noise(f"rows {model.latent_dim}")
    return model.likelihood(model.prior().rsample((1, n), source)).sample(source)[0]


class Widened(Posterior):
    """A q(z|x) that is nearly right: p(z|x) with its standard deviations times 1.2."""

    def __init__(self, model: LinearGaussian) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, noise: Noise | None = None) -> DiagonalGaussian:
        """The model's z is rotated so that its entries are independent given x."""
        exact = self.model.posterior(batch)
        return DiagonalGaussian(exact.mean, (1.2 * exact.scale).log())


def naive_monte_carlo(lesson: Lesson) -> dict:
    """5. Why not simply integrate?

    If x depends on z by a network, p(x) = ∫ p(x|z) p(z) dz has no closed form. It is an expectation, so it could be
    estimated by the mean of p(x|z) over draws from the prior. This estimate has no bias, but a huge variance: p(x|z)
    is negligible for nearly all z, and the more dimensions z has, the less often one of the others is drawn. The
    number of draws needed grows like exp KL(p(z|x) ‖ p(z)), and that KL is proportional to the dimension.

    Draws from a q(z|x) near p(z|x), weighted by p(z)/q(z|x), estimate the same integral. Both are compared on linear
    models, whose p(x) is known. Our q is wrong on purpose, 1.2 times too wide in every direction.
    """
    K, rows = 1000, lesson.choose(200, 50)
    found = {}
    print(f"Typical error |log p̂(x) − log p(x)| in nats, {K} draws for each of {rows} rows:")
    print("   D    from the prior      from q              KL(p(z|x) ‖ p(z))")
    for D in lesson.choose((1, 2, 4, 8, 16, 32, 64), (1, 8, 64)):
        model = linear_gaussian(D, D)
        model.rotate()
        x = draw_from(model, rows)
        naive, weighted = (mean_and_error(errors(model, q, x, K)) for q in (StartAtPrior(D), Widened(model)))
        kl = model.posterior(whole(x)).kl_to_standard_normal().sum(-1).mean().item()
        found[D] = {"prior": naive, "q": weighted, "kl": kl}
        print(f"  {D:2}    {naive[0]:8.4f} ± {naive[1]:.4f}   {weighted[0]:8.4f} ± {weighted[1]:.4f}   {kl:8.1f}")
    draw_errors(found, lesson.folder / "naive_monte_carlo.png")
    return found


def errors(model: LinearGaussian, proposal: nn.Module, x: Tensor, K: int) -> Tensor:
    """|log (1/K) Σ_k p(x, z_k)/r(z_k) − log p(x)| of every row, the z_k drawn from the proposal r."""
    mask, device = torch.ones(x.shape[1:], dtype=torch.bool), torch.device("cpu")
    rows = RowsInMemory(x, lambda raw, noise: raw, mask, device)
    estimate, _ = importance_weighted(Evaluation(model, proposal, rows, noise("importance")), K)
    return (estimate - model.log_prob(whole(x))).abs()


def draw_errors(found: dict, path: Path) -> None:
    """Both errors against D, on logarithmic axes."""
    figure = Figure(figsize=(6.5, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    labels = {"prior": (RED, "z from the prior p(z)"), "q": (BLUE, "z from q(z|x), 1.2 times too wide")}
    for name, (color, label) in labels.items():
        values, spread = np.transpose([found[D][name] for D in found])
        axes.errorbar(list(found), values, 2 * spread, color=color, marker="o", capsize=3, linewidth=1.8, label=label)
    axes.legend(frameon=False, loc="upper left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(found), [str(D) for D in found])
    axes.set(xlabel="latent dimensions D", ylabel="typical error of log p(x), nats (bars: 2 standard errors)")
    axes.set_title("Error of log p(x) from 1,000 draws", fontsize=12)
    axes.grid(color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


# ----------------------------------------------------------------------------------------------------------------------
# The lower bound
# ----------------------------------------------------------------------------------------------------------------------


def lower_bound(lesson: Lesson) -> dict:
    """6. The lower bound

    For any q(z) at all,

        log p(x) = E_q[log p(x, z) − log q(z)] + KL(q ‖ p(z|x)).

    The first term can be estimated from draws of q. The second is not known, but is never negative. So the first is a
    lower bound of log p(x), called the ELBO, and the q that raises it is closer to the posterior. On a linear model
    with two correlated latent variables all three numbers are known:
    """
    model = linear_gaussian(3, 2)
    model.weights.copy_(torch.tensor([[1.0, 0.5], [0.7, 1.0], [0.8, 0.8]]))
    x = draw_from(model, 1)
    log_p, exact = model.log_prob(whole(x)).item(), model.posterior(whole(x))
    own = (
        (exact.scale_tril @ exact.scale_tril.mT).inverse().diagonal(dim1=-2, dim2=-1)
    )  # each z's precision, given the other
    candidates = {
        "the posterior": exact,
        "best independent": FullGaussian(exact.mean, torch.diag_embed(own.rsqrt())),
        "the prior": FullGaussian(torch.zeros_like(exact.mean), torch.eye(2, dtype=x.dtype)[None]),
    }
    found: dict = {"log p": log_p}
    print(f"log p(x) = {log_p:.4f}")
    for name, q in candidates.items():
        z = q.rsample((100_000,), noise("bound"))
        bound = mean_and_error((model.log_joint(whole(x), z) - q.log_prob(z)).flatten())
        kl = divergence(q, exact)
        found[name] = (*bound, kl)
        print(f"  q = {name:17} ELBO {bound[0]:8.4f} ± {bound[1]:.4f}   KL {kl:.4f}   sum {bound[0] + kl:8.4f}")
    print("log of the mean of K weights is a bound that rises to log p(x) with K. With draws from the prior as q:")
    for K in (1, 10, 100, 1000):
        z = candidates["the prior"].rsample((200_000,), noise("tight"))
        log_w = (model.log_joint(whole(x), z) - candidates["the prior"].log_prob(z)).reshape(K, -1)
        found[K] = mean_and_error(log_w.logsumexp(0) - math.log(K))
        print(f"  K = {K:4}   {found[K][0]:8.4f} ± {found[K][1]:.4f}")
    return found


def divergence(q: FullGaussian, p: FullGaussian) -> float:
    """KL(q ‖ p) of one row, in closed form."""
    as_torch = [torch.distributions.MultivariateNormal(d.mean[0], scale_tril=d.scale_tril[0]) for d in (q, p)]
    return torch.distributions.kl_divergence(*as_torch).clamp_min(0).item()


def ways_of_inference(lesson: Lesson) -> dict:
    """7. Five ways to choose q

    Each row has a posterior of its own. There are several ways to choose a q for each:

    shared: one q for all rows, which does not depend on x. The best such q is the prior, and the best model with it
    ignores z: independent features with one variance, whose log p(x) we can compute.
    mean field: every row has its own mean m_i and scale s_i. The bound is tight, but the number of parameters grows
    with the rows, and a new row needs a fit of its own.
    amortized: one network, the encoder, reads x and returns m and s. A new row takes one pass.
    refined: the encoder's m and s, improved by a few gradient steps for each row.
    Monte-Carlo EM: no q, but a Markov chain for each row that draws from p(z|x). The only approximation is the
    finite number of its steps, but there is no lower bound to compute.

    The decoder is linear and the data are drawn from such a model, so the best possible log p(x) is known: it is
    that of PPCA. A rotation of z does not change p(x), and for one of the rotations the posterior's entries are
    independent. So all of them but the shared q can reach the maximum; a gap that is left means that the rotation has
    not been found yet.
    """
    x = draw_from(linear_gaussian(6, 2), 400).numpy()
    best = PPCA(2, standardize=False).fit(x).score_samples(x)
    ignoring = stats.norm(x.mean(0), math.sqrt(x.var(0).mean())).logpdf(x).sum(1)
    found: dict = {"best": best.mean().item(), "ignoring z": (ignoring - best).mean().item()}
    print(f"The maximum of log p(x), by PPCA: {found['best']:.4f} nats a row. Differences from it:")
    print("                lower bound           log p(x), 500 draws    seconds")
    for name in ("shared", "mean_field", "amortized", "refined", "mcem"):
        started = time.perf_counter()
        vae = linear_vae(name, lesson.choose(300, 120)).fit(x)
        seconds = time.perf_counter() - started
        gaps = found[name] = {"log p": mean_and_error(vae.log_likelihood_rows(x, 500)[0] - best)}
        bound = "   none"
        if name != "mcem":
            gaps["bound"] = mean_and_error(vae.elbo_terms(x, n_samples=100).elbo.numpy() - best)
            bound = "{:8.4f} ± {:.4f}".format(*gaps["bound"])
        print(f"  {name:12} {bound:17}     {'{:8.4f} ± {:.4f}'.format(*gaps['log p'])}      {seconds:5.1f}")
    print(f"A model that ignores z: {found['ignoring z']:.4f}.")
    return found


class Quiet(VAE):
    """A VAE that doesn't warn of latent variables that are not used, which is expected here of a shared q."""

    def fit(self, X, y=None):
        """Fit as ``VAE`` does, without that warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapsedPosteriorWarning)
            return super().fit(X, y)


def linear_vae(inference: str, n_steps: int) -> VAE:
    """PPCA's model, x = Wz + μ + σε, fitted with one of the ways to choose q."""
    posteriors = {
        "shared": "shared", "mean_field": MeanField(300), "amortized": "amortized",
        "refined": Amortized(n_refinement_steps=5), "mcem": MCEM(300),
    }  # fmt: skip
    return Quiet(
        2, network=MLP(()), likelihood=GaussianLikelihood("shared", standardize=False), posterior=posteriors[inference],
        optimizer=Adam(0.03), batch_size=400, max_epochs=n_steps, early_stopping=False, random_state=0,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# Gradients
# ----------------------------------------------------------------------------------------------------------------------


def gradients(lesson: Lesson) -> dict:
    """8. Two ways to differentiate an expectation

    To maximize E_q[f(z)] one needs its gradient with respect to the parameters of q, from which z is drawn.

    The score function: ∇ E_q[f] = E_q[f(z) ∇ log q(z)]. It works for any f, and for discrete z. It uses only values of
    f. A constant added to f does not change the gradient, but adds to the variance of its estimate.

    Reparameterization: draw ε from a fixed distribution, set z = m + sε, and differentiate through f:
    ∇ E_q[f] = E[∇f(m + sε)]. It uses the slope of f, to which a constant adds nothing.

    First an example that can be computed, f(z) = (z − 3)² + c and q = N(m, 1) at m = 0: the gradient is −6, the
    variance of the second estimator is 4, that of the first c² + 24c + 222.
    """
    epsilon = np.random.default_rng(0).standard_normal(lesson.choose(1_000_000, 200_000))
    found: dict = {}
    for c in (0.0, -100.0):
        score = ((epsilon - 3) ** 2 + c) * epsilon
        pathwise = 2 * (epsilon - 3)
        print(f"c = {c:g}")
        for name, draws, exact in (("score function", score, c**2 + 24 * c + 222), ("reparameterized", pathwise, 4.0)):
            mean, variance = mean_and_error(draws), mean_and_error((draws - draws.mean()) ** 2)
            found[name, c] = (*mean, *variance, exact)
            print(f"  {name:16} mean {mean[0]:7.3f} ± {mean[1]:.3f}   variance {variance[0]:8.2f} ± {variance[1]:.2f}, "
                  f"exactly {exact:g}")  # fmt: skip
    print("\nNow a VAE for the digits: variance of the encoder's gradient, averaged over its weights.")
    train, _ = binary_digits()
    start = VAE(16, random_state=0, optimizer=Adam(4e-3), network=MLP((64, 64)))
    trained = clone(start).set_params(max_epochs=lesson.choose(60, 10)).fit(train)
    chosen = {
        "score function": {"gradient": "score", "baseline": "none"},
        "score, less running mean": {"gradient": "score", "baseline": "running"},
        "reparameterized": {},
    }
    for when, vae in (("at the start", start), ("trained", trained)):
        draws = {"n": lesson.choose(200, 40), "batch_size": 50, "random_state": 0}
        measured = {k: m["encoder"] for k, m in diagnostics.gradient_variance(vae, train, chosen, **draws).items()}
        print(when)
        for name, moments in measured.items():
            print(f"  {name:25} variance {moments.variance.value:8.2g} ± {moments.variance.standard_error:.1g}")
        found[when] = measured["score function"].variance.value / measured["reparameterized"].variance.value
        print(f"  the first is {found[when]:,.0f} times the last")
    print(
        "The score function needs that many times the draws for the same precision. The ratio is larger at the\n"
        "start, where the decoder hardly depends on z: log p(x|z) is nearly a constant, −25, which adds variance.\n"
        "Subtracting a running mean removes this constant, but not the rest of the variance."
    )
    return found


def autoencoder(lesson: Lesson) -> dict:
    """9. The role of the prior

    The ELBO is E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)): a term for the reconstruction of x, and one for the information
    that z has about x. With a smaller weight of the second term, q becomes narrower, z has more information, and x is
    reconstructed better. Without it, and with q a point, this is the classical autoencoder. But then there is no p(x):
    the bound falls without limit, and the codes follow no known distribution from which a new one could be drawn.
    """
    train, _ = binary_digits()
    common = {"max_epochs": lesson.choose(100, 12), "batch_size": 64, "early_stopping": False, "optimizer": Adam(2e-3)}
    networks = {"random_state": 0, "network": MLP((64, 64))}
    found: dict = {}
    print("8 latent variables, training rows, in nats:")
    for weight in (1.0, 0.1, 0.001):
        vae = VAE(8, objective=ELBO(kl_weight=weight), **common, **networks).fit(train)
        parts = vae.elbo_terms(train, n_samples=4)
        scale = math.sqrt((vae.encode(train)[1] ** 2).mean())
        rebuilt, kl = parts.reconstruction.mean().item(), parts.kl.sum(-1).mean().item()
        found[weight] = {"rebuilt": rebuilt, "kl": kl, "scale": scale, "elbo": rebuilt - kl}
        print(f"  KL × {weight:<6g} E log p(x|z) {rebuilt:7.2f}   KL {kl:6.2f}   ELBO {rebuilt - kl:7.2f}   "
              f"σ of q {scale:.3f}")  # fmt: skip
    plain = Autoencoder(8, **common, **networks).fit(train)
    found["autoencoder"] = plain.score(train)
    print(f"  autoencoder   log p(x|z) {found['autoencoder']:7.2f}")
    try:
        plain.sample(1)
    except TypeError as error:
        found["refusal"] = str(error)
        print(f"The autoencoder's sample(1) raises: {error}")
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Distributions as functions of normal variables
# ----------------------------------------------------------------------------------------------------------------------


def ring(z: np.ndarray) -> np.ndarray:
    """g(z) = z/10 + z/‖z‖."""
    return z / 10 + z / np.linalg.norm(z, axis=1, keepdims=True)


def ring_log_density(x: np.ndarray) -> np.ndarray:
    """log p(x) for x = g(z), z ~ N(0, I).

    The radius is r = 1 + ‖z‖/10, ‖z‖ has the Rayleigh density ‖z‖ exp(−‖z‖²/2), and all angles are equally likely:
    p(x) = 10 ‖z‖ exp(−‖z‖²/2) / (2πr).
    """
    r = np.linalg.norm(x, axis=1)
    length = 10 * (r - 1)
    return np.log(10 * length) - length**2 / 2 - np.log(2 * math.pi * r)


def learn_the_ring(lesson: Lesson) -> dict:
    """10. The ring

    A normal p(z) does not restrict p(x) much, because the decoder can change its shape. For example,
    g(z) = z/10 + z/‖z‖ maps a normal z in the plane to a ring around an empty center. A VAE is fitted to points of the
    ring alone and has to learn such a function. Its decoder is continuous, unlike g, so it can't leave the center
    empty, but it can map a very small part of the z there.

    A fit from the usual start ends with z unused, at the best round normal distribution: a linear function of z
    improves nothing, and the KL term penalizes any use of z. So the weight of the KL term rises from 0 over the first
    half of the steps.

    Here p(x) is known, so the error of the fit can be measured.
    """
    random = np.random.default_rng(0)
    x, test = (ring(random.standard_normal((n, 2))) for n in (4000, 1000))
    epochs = lesson.choose(300, 40)  # of 20 steps
    vae = VAE(
        2,
        max_epochs=epochs,
        batch_size=200,
        early_stopping=False,
        random_state=0,
        optimizer=Adam(5e-3),
        network=MLP((64, 64, 64), activation="relu"),
        posterior=Amortized("full"),
        objective=ELBO(warmup_steps=10 * epochs),
    )
    vae.fit(x)
    drawn = vae.sample(4000)
    radius, true_radius = (
        np.linalg.norm(points, axis=1) for points in (drawn, ring(random.standard_normal((4000, 2))))
    )
    angle = np.arctan2(drawn[:, 1], drawn[:, 0])
    exact = ring_log_density(test)
    learned, _ = vae.log_likelihood_rows(test, lesson.choose(2000, 200))
    cloud = stats.norm(x.mean(0), math.sqrt(x.var(0).mean())).logpdf(test).sum(1)
    found = {
        "radius": mean_and_error(radius),
        "true radius": 1 + 0.1 * math.sqrt(math.pi / 2),
        "hole": np.mean(radius < 0.8).item(),
        "exact": mean_and_error(exact),
        "gap": mean_and_error(exact - learned),
        "gap of a cloud": mean_and_error(exact - cloud),
        "angle": stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).statistic.item(),
        "radii": stats.ks_2samp(radius, true_radius).statistic.item(),
    }
    print("mean radius {:.4f} ± {:.4f},".format(*found["radius"]), f"exact 1 + √(π/2)/10 = {found['true radius']:.4f}")
    print(f"{found['hole']:.1%} of the draws lie in the hole, within a radius of 0.8; none of the data does")
    print("held-out log p(x), exact: {:.3f} ± {:.3f} nats".format(*found["exact"]))
    print("  the VAE is below it by at most {:.3f} ± {:.3f}".format(*found["gap"]))
    print("  a round normal distribution by {:.3f} ± {:.3f}".format(*found["gap of a cloud"]))
    print(f"largest difference of distribution functions: radius {found['radii']:.3f}, angle {found['angle']:.3f}")
    draw_ring(vae, drawn, lesson.folder / "ring.png")
    return found


def draw_ring(vae: VAE, drawn: np.ndarray, path: Path) -> None:
    """z, the true ring, E[x|z] by the decoder, draws; the first three colored by the angle of z."""
    z = np.random.default_rng(1).standard_normal((3000, 2))
    color = {"c": np.arctan2(z[:, 1], z[:, 0]), "cmap": "twilight_shifted"}
    panels = {
        "z ~ N(0, I)": (z, color),
        "x = z/10 + z/‖z‖": (ring(z), color),
        "the VAE's E[x|z], learned from x alone": (vae.decode(z), color),
        "draws from the VAE": (drawn[:3000], {"c": BLUE}),
    }
    figure = Figure(figsize=(14, 4), dpi=120, layout="constrained")
    for axes, (title, (points, style)) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.scatter(*points.T, s=3, linewidths=0, **style)
        reach = 3.5 if points is z else 1.6
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def two_bumps_cdf(x: np.ndarray) -> np.ndarray:
    """F of a mixture: 30 % N(−2, 0.5²) and 70 % N(1, 1)."""
    return 0.3 * stats.norm(-2, 0.5).cdf(x) + 0.7 * stats.norm(1, 1).cdf(x)


def two_bumps(u: np.ndarray) -> np.ndarray:
    """F⁻¹, from a table of F."""
    grid = np.linspace(-7, 7, 20001)
    return np.interp(u, two_bumps_cdf(grid), grid)


def checkerboard(u: np.ndarray) -> np.ndarray:
    """Two uniform numbers to a point on the black squares of a 4×4 board, by x₁ = F₁⁻¹(u₁), x₂ = F⁻¹(u₂ | x₁).

    x₁ is uniform on [0, 4]; given x₁, two of the four squares above it are black, each with probability ½.
    """
    first = 4 * u[:, 0]
    square, within = np.divmod(2 * u[:, 1], 1)
    return np.stack([first, 2 * square + within + np.floor(first) % 2], 1)


def inverse_cdfs(lesson: Lesson) -> dict:
    """11. Any distribution is a function of normal variables

    The ring is one example of many. Let z be normal and Φ its distribution function; then u = Φ(z) is uniform on
    [0, 1], and F⁻¹(u) has the distribution function F, for any F. For a vector, apply this to one entry after
    another, each given those before it: x₁ = F₁⁻¹(Φ(z₁)), x₂ = F₂⁻¹(Φ(z₂) | x₁), …, by the chain rule. So there is
    always a function that turns a normal z into draws of p(x), and a large network can approximate it. That is why
    the prior may be a simple one: the first layers of the decoder can do what a more flexible prior would do.

    The largest difference between the distribution function of n such draws and F should be about 1/√n, and the
    test's p-value should be anything between 0 and 1:
    """
    z = np.random.default_rng(0).standard_normal((20_000, 5))
    u = stats.norm.cdf(z)
    arcsine = stats.arcsine(-2, 4)
    targets = {
        "exponential": (stats.expon.ppf(u[:, 0]), stats.expon.cdf),
        "two bumps": (two_bumps(u[:, 1]), two_bumps_cdf),
        "arcsine": (arcsine.ppf(u[:, 2]), arcsine.cdf),
    }
    found: dict = {}
    for name, (x, cdf) in targets.items():
        test = stats.kstest(x, cdf)
        found[name] = test.pvalue.item()
        print(f"  {name:12} largest difference {test.statistic:.4f}, 1/√n = {1 / math.sqrt(len(x)):.4f}, "
              f"p-value {test.pvalue:.2f}")  # fmt: skip
    board = checkerboard(u[:, 3:])
    squares = np.floor(board).astype(int)
    found["white"] = int((squares.sum(1) % 2 == 1).sum())
    found["checkerboard"] = stats.chisquare(np.unique(squares, axis=0, return_counts=True)[1]).pvalue.item()
    print(f"  checkerboard of 4×4: {found['white']} of {len(board):,} points lie on white squares; that the 8 black")
    print(f"  ones are equally likely has the p-value {found['checkerboard']:.2f}")
    draw_inverse_cdfs({name: x for name, (x, _) in targets.items()}, z, board, lesson.folder / "inverse_cdfs.png")
    return found


def draw_inverse_cdfs(targets: dict[str, np.ndarray], z: np.ndarray, board: np.ndarray, path: Path) -> None:
    """Above: the functions z → x. Below: what they make of a normal z."""
    figure = Figure(figsize=(14, 6.5), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 4)
    for j, (above, below, (name, x)) in enumerate(zip(upper, lower, targets.items(), strict=False)):
        above.plot(np.sort(z[:, j]), np.sort(x), color=BLUE, linewidth=2)
        above.set(xlabel="z", ylabel="x = F⁻¹(Φ(z))", xlim=(-3.5, 3.5))
        above.set_title(name, fontsize=12)
        below.hist(x, 80, density=True, color=BLUE, alpha=0.75, label="F⁻¹(Φ(z))")
        below.hist(z[:, j], 80, density=True, histtype="step", color=GREY, label="z")
        below.set(xlabel="x", xlim=(-4, 5), yticks=[])
        below.legend(frameon=False, fontsize=9)
    color = {"c": np.arctan2(z[:, 4], z[:, 3]), "cmap": "twilight_shifted", "s": 2, "linewidths": 0}
    for axes, points, title in ((upper[3], z[:, 3:], "z ~ N(0, I)"), (lower[3], board, "the checkerboard it becomes")):
        axes.scatter(*points.T, **color)
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=12)
    for axes in itertools.chain(upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


SECTIONS: tuple[Callable[[Lesson], dict], ...] = (
    why_model_p, unnormalized_network, explicit_models, latent_variables, naive_monte_carlo, lower_bound,
    ways_of_inference, gradients, autoencoder, learn_the_ring, inverse_cdfs,
)  # fmt: skip


def run(section: Callable[[Lesson], dict], lesson: Lesson) -> dict:
    """Print a section's text and run it; returns the numbers."""
    title, _, text = inspect.cleandoc(section.__doc__ or "").partition("\n\n")
    print(f"\n\n{title}\n{'─' * len(title)}\n\n{text}\n", flush=True)
    return section(lesson)


def main(folder: Path, quick: bool = False) -> dict[str, dict]:
    """All sections; returns their numbers by the name of the function."""
    folder.mkdir(parents=True, exist_ok=True)
    print(inspect.cleandoc(__doc__ or "").splitlines()[0])
    started = time.perf_counter()
    found = {section.__name__: run(section, Lesson(folder, quick)) for section in SECTIONS}
    print(f"\n\nThat took {time.perf_counter() - started:.0f} s. The pictures are in {folder}: samples.png, "
          f"naive_monte_carlo.png, ring.png, inverse_cdfs.png.")  # fmt: skip
    return found


if __name__ == "__main__":
    arguments = [a for a in sys.argv[1:] if a != "--quick"]
    main(Path(arguments[0] if arguments else "runs/models"), quick="--quick" in sys.argv)
