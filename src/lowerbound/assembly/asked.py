"""The parts that are asked of a model with latent variables, and which of them can't go together.

All refusals across parts are here, but for those that depend on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lowerbound.parameters.likelihoods import GaussianLikelihood, Likelihood
from lowerbound.parameters.parts import (
    ELBO,
    IWAE,
    MCEM,
    MLP,
    Amortized,
    Conv,
    FlowPosterior,
    Ladder,
    MeanField,
    SampledELBO,
    Shared,
)
from lowerbound.parameters.priors import ContextPrior, NormalPrior, Prior, VampPrior

EncoderPosterior = (Amortized, FlowPosterior)


@dataclass(frozen=True)
class Asked:
    """The parts that a model with latent variables is made from.

    Attributes
    ----------
    latent_dim : int, "auto", tuple of int or Ladder
    network : Conv, MLP, "auto" or a pair of modules
    likelihood : Likelihood or "auto"
    posterior : Amortized, FlowPosterior, MeanField, Shared or MCEM
    prior : Prior
    objective : ELBO, SampledELBO or IWAE
    """

    latent_dim: int | str | tuple[int, ...] | Ladder
    network: Any
    likelihood: Likelihood | str
    posterior: Amortized | FlowPosterior | MeanField | Shared | MCEM = Amortized()  # noqa: RUF009  # never changes
    prior: Prior = NormalPrior()  # noqa: RUF009
    objective: ELBO | SampledELBO | IWAE = ELBO()  # noqa: RUF009

    @property
    def is_chain(self) -> bool:
        """Levels that are inferred from level to level."""
        return isinstance(self.latent_dim, tuple)

    @property
    def has_levels(self) -> bool:
        """A chain or a ladder."""
        return self.is_chain or isinstance(self.latent_dim, Ladder)

    @property
    def covariance(self) -> str:
        """The covariance of the Gaussian that q(z|x) is, or is made from."""
        return self.posterior.covariance if isinstance(self.posterior, Amortized) else "diagonal"

    @property
    def input_dropout(self) -> float:
        """The largest part of a row that is hidden from the encoder in training."""
        return self.posterior.input_dropout if isinstance(self.posterior, EncoderPosterior) else 0.0

    @property
    def missingness(self) -> str | None:
        """The model of the mask."""
        return self.likelihood.missingness if isinstance(self.likelihood, GaussianLikelihood) else None

    def check(self) -> None:
        """Raise ``ValueError`` where two parts can't go together."""
        if self.has_levels:
            self._check_levels()
        self._check_prior()
        self._check_objective()

    def check_context(self, *, is_given: bool) -> None:
        """Raise ``ValueError`` where a part can't be given a context, or needs one."""
        if not is_given:
            if isinstance(self.prior, ContextPrior):
                raise ValueError("prior='context' is p(z|c) of a model that is given a context: fit(X, context=…)")
            return
        if not isinstance(self.network, (str, MLP, Conv)):
            raise ValueError("a pair of modules of one's own can't be given a context: use network='mlp' or 'conv'")
        if isinstance(self.prior, VampPrior):
            raise ValueError(f"prior={self.prior!r} can't be given a context: use prior='context' or 'mixture'")

    def _check_levels(self) -> None:
        one_level = "for one level of latent variables"
        if not (isinstance(self.posterior, Amortized) and {*self.posterior.changed()} <= {"input_dropout"}):
            raise ValueError(
                f"posterior={self.posterior!r} is {one_level}: several have Amortized(), with input_dropout at most"
            )
        if not isinstance(self.prior, NormalPrior):
            raise ValueError(f"prior={self.prior!r} is {one_level}: leave prior='normal'")
        if self.missingness is not None:
            raise ValueError(f"missingness={self.missingness!r} is {one_level}: leave it None")
        if not isinstance(self.network, (str, MLP, Conv)):
            raise ValueError("several levels make their own networks: leave network='auto', or choose 'mlp' or 'conv'")
        if not self.is_chain and self.objective.gradient != "pathwise":
            raise ValueError(
                f"gradient={self.objective.gradient!r} has no meaning for a ladder, where the distribution of a level "
                f"depends on the z above: leave 'pathwise'"
            )
        if self.is_chain and isinstance(self.network, Conv):
            raise ValueError("a chain of levels (several numbers in latent_dim) is made of MLPs: use network='mlp'")
        if not self.is_chain and isinstance(self.network, MLP) and self.network.changed():
            raise ValueError(
                f"network={self.network!r} has no meaning for a ladder, which has blocks of one width: leave 'mlp', "
                f"and give the width to Ladder"
            )

    def _check_prior(self) -> None:
        is_gaussian = not isinstance(self.posterior, FlowPosterior)
        if isinstance(self.prior, VampPrior):
            if not isinstance(self.posterior, EncoderPosterior):
                raise ValueError(
                    f"prior='vamp' is made of the encoder, which posterior={self.posterior.kind!r} has not"
                )
            if not is_gaussian:
                raise ValueError(
                    "prior='vamp' is made of Gaussians, posterior='flow' is not: use prior='mixture' or 'flow'"
                )
            if self.covariance == "full":
                raise ValueError("prior='vamp' can't be used with covariance='full': use prior='mixture'")
        elif isinstance(self.prior, ContextPrior) and not is_gaussian:
            raise ValueError("prior='context' is a Gaussian, and so must the posterior be: use posterior='amortized'")
        elif not isinstance(self.prior, NormalPrior) and isinstance(self.posterior, (Shared, MCEM)):
            raise ValueError(f"posterior={self.posterior.kind!r} needs prior='normal', not {self.prior!r}")

    def _check_objective(self) -> None:
        if isinstance(self.posterior, MCEM):
            if self.objective != ELBO():
                raise ValueError(
                    f"posterior='mcem' has no encoder and no bound, so nothing of objective={self.objective!r} can be "
                    f"honored: leave objective='elbo'"
                )
            return
        for what, is_sampled in (
            ("several levels", self.is_chain),
            (f"prior={self.prior!r}", not isinstance(self.prior, (NormalPrior, ContextPrior))),
            (f"posterior={self.posterior!r}", isinstance(self.posterior, FlowPosterior)),
        ):
            if is_sampled:
                self._check_sampled_kl(what)

    def _check_sampled_kl(self, what: str) -> None:
        """Raise where a KL that has no closed form can't do what is asked."""
        if self.objective.gradient in ("stl", "dreg") and not what.startswith("prior"):
            raise ValueError(
                f"gradient={self.objective.gradient!r} holds the parameters of log q(z|x) fixed, which {what} can't: "
                f"use 'pathwise'"
            )
        if not isinstance(self.objective, ELBO):
            return
        if self.objective.free_bits > 0:
            raise ValueError(f"free_bits needs the KL of each latent variable, which {what} can't give: set it to 0")
        if self.objective.gradient == "score":
            raise ValueError(
                f"ELBO(gradient='score') needs the KL in closed form, which {what} can't give: use SampledELBO"
            )
