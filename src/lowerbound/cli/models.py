"""The models that can be trained, by their names on the command line; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lowerbound.parameters import tables
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.vae import VAE_PARAMETERS

QUIET = "verbose"  # the parameter that -q and -v give


@dataclass(frozen=True)
class TrainedModel:
    """A model that ``lowerbound train`` fits.

    Attributes
    ----------
    class_name : str
        Its name in the library.
    parameters : mapping
        Its parameters by name.
    common : tuple of str
        Parameters, and fields of parts, that the short help shows; all if there are none.
    in_steps : bool
        It is trained by the training loop, with checkpoints, and can be continued.
    can : tuple of str
        The commands that work on its runs.
    takes : {"rows", "sequences", "text"}
        Its data.
    """

    class_name: str
    parameters: Mapping[str, Parameter]
    common: tuple[str, ...] = ()
    in_steps: bool = False
    can: tuple[str, ...] = ("generate", "evaluate", "outliers", "impute", "report")
    takes: str = "rows"

    @property
    def table(self) -> dict[str, Parameter]:
        """The parameters that have flags."""
        return {name: parameter for name, parameter in self.parameters.items() if name != QUIET}


TRAINING = ("max_epochs", "batch_size", "optimizer__lr")
SHAPE = ("image_shape", "layout", "random_state", "device")
CODES = ("encode", "reconstruct", "traverse", "interpolate")
EVERYTHING = ("generate", "evaluate", *CODES, "outliers", "impute", "report", "compress")
WITHOUT_CODES = ("generate", "evaluate", "outliers", "impute", "report", "compress")
MODELS = {
    "vae": TrainedModel(
        "VAE",
        VAE_PARAMETERS,
        ("latent_dim", "network", "likelihood", "columns", "prior", "posterior", "objective", *TRAINING, *SHAPE),
        in_steps=True,
        can=EVERYTHING,
    ),
    "imputer": TrainedModel("VAEImputer", tables.IMPUTER_PARAMETERS, can=("impute",)),
    "detector": TrainedModel("VAEOutlierDetector", tables.DETECTOR_PARAMETERS, can=("outliers", "report")),
    "factorized": TrainedModel("Factorized", tables.FACTORIZED_PARAMETERS, can=WITHOUT_CODES),
    "mixture": TrainedModel("Mixture", tables.MIXTURE_PARAMETERS, can=WITHOUT_CODES),
    "gaussian": TrainedModel("Gaussian", tables.GAUSSIAN_PARAMETERS),
    "ppca": TrainedModel("PPCA", tables.PPCA_PARAMETERS, can=EVERYTHING),
    "factor-analysis": TrainedModel("FactorAnalysis", tables.FACTOR_ANALYSIS_PARAMETERS, can=EVERYTHING),
    "rbm": TrainedModel("RBM", tables.RBM_PARAMETERS, can=("generate", "evaluate", "outliers", "report")),
    "pixel-rnn": TrainedModel(
        "PixelRNN",
        tables.PIXEL_RNN_PARAMETERS,
        ("hidden_size", "likelihood", *TRAINING, *SHAPE),
        in_steps=True,
        can=("generate", "evaluate", "outliers", "report", "compress"),
    ),
    "autoencoder": TrainedModel(
        "Autoencoder",
        tables.AUTOENCODER_PARAMETERS,
        ("latent_dim", "network", "likelihood", "penalty", "noise", *TRAINING, *SHAPE),
        in_steps=True,
        can=(*CODES, "report"),
    ),
    "recurrent": TrainedModel(
        "RecurrentVAE",
        tables.RECURRENT_VAE_PARAMETERS,
        (
            "latent_dim",
            "hidden_size",
            "latents",
            "likelihood",
            "length",
            "window",
            "objective",
            *TRAINING,
            "random_state",
            "device",
        ),
        in_steps=True,
        can=("generate", "evaluate", "encode", "reconstruct", "outliers", "impute", "forecast", "report", "compress"),
        takes="sequences",
    ),
    "sequence": TrainedModel(
        "SequenceVAE",
        tables.SEQUENCE_VAE_PARAMETERS,
        ("latent_dim", "hidden_size", "tokens", "token_dropout", "objective", *TRAINING, "random_state", "device"),
        in_steps=True,
        can=("generate", "chat", "evaluate", "encode", "reconstruct", "report", "compress"),
        takes="text",
    ),
}
TAKEN = {"rows": "rows of a table or images", "sequences": "sequences of numbers", "text": "text"}


def model_called(class_name: str) -> str | None:
    """The name on the command line of a class; None if it works from Python alone."""
    return next((name for name, each in MODELS.items() if each.class_name == class_name), None)


def refusal(class_name: str, command: str) -> str | None:
    """The sentence that a model can't do what a command asks, what it can, and which models could; None if it can."""
    name = model_called(class_name)
    if name is None:
        return f"holds a {class_name}, which works from Python alone: lowerbound.load(folder)"
    model = MODELS[name]
    if command in model.can:
        return None
    able = [other for other, each in MODELS.items() if command in each.can and each.takes == model.takes]
    could = f"{_listed(able, 'or')} could (lowerbound train --model NAME)" if able else f"no model of {model.takes} can"
    return (
        f"holds a model of kind {name}, which `lowerbound {command}` can't use: {could}; {name} works with "
        f"{_listed(list(model.can), 'and')}"
    )


def _listed(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
