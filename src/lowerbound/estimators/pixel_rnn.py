"""The recurrent network over features as a scikit-learn estimator."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from lowerbound.assembly.vae import log_unit_of
from lowerbound.core import Objective
from lowerbound.data.schema import Schema
from lowerbound.estimators.arguments import Seed
from lowerbound.estimators.density import ExactEstimator, Gaps
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.inference.objectives import elbo
from lowerbound.models.autoregressive import Autoregressive, to_grid
from lowerbound.nn.inputs import Values
from lowerbound.nn.recurrent import Level, Number, RasterGRU
from lowerbound.parameters.tables import PIXEL_RNN_PARAMETERS

REACH = 3  # pixels to either side of the one above that are read with it


class PixelRNN(GradientEstimator, ExactEstimator):
    """The chain rule p(x) = Π_j p(x_j | x_<j), a recurrent network reading the features in order.

    log p(x) is exact, for images and for tables; nothing is integrated and nothing bounded. An image is read row by
    row from the top, each row from left to right, the channels of a pixel one after another; the columns of a table as
    they come, so there their order matters. All log-densities are in nats, for one row, in the user's units.

    What it costs: scoring and fitting run all rows of an image at once (H + W steps that follow upon each other), but
    drawing takes a step for every feature, each waiting for the last: 784 for an image of 28×28, whether one image is
    drawn or a thousand. A VAE draws in a single step.

    Parameters
    ----------
    hidden_size : int
        Hidden units of each of the two recurrent layers (one, for a table).
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"}
        p(x_j | x_<j). "auto": Bernoulli for 0/1 data, discretized logistic over grey levels for uint8, else Gaussian.
        The scale of the last two is the network's too, and real-valued features are standardized inside.
    min_scale : float
        Lower bound of the Gaussian's σ, as a part of the feature's standard deviation; without one, two equal columns
        would send the density to infinity.
    binarize : {None, "sample", "threshold"}
        Grey values (uint8, or real in [0, 1]) become 0 or 1: redrawn as Bernoulli for every minibatch, or cut at ½.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows: without it they are read as one long row.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    max_epochs : int or "auto"
        "auto": about 10,000 steps, from 30 to 500 epochs.
    batch_size : int or "auto"
        "auto": from 16 to 128 with the number of rows.
    lr : float
        Highest learning rate of AdamW.
    lr_schedule : {"cosine", "constant"}
        "cosine" rises for 5 % of the steps and falls to zero at ``max_epochs``.
    weight_decay : float
        Decoupled (Loshchilov & Hutter, 2019).
    early_stopping : bool
        Hold out ``validation_fraction`` of the rows; stop after ``n_iter_no_change`` epochs in which their likelihood
        did not rise by ``tol`` nats, and keep the weights of the best epoch.
    validation_fraction, n_iter_no_change, tol : float, int, float
        See ``early_stopping``.
    warm_start : bool
        ``fit`` continues from the weights there are.
    random_state : int, RandomState or None
        With the same seed, the same result. Nothing global is touched.
    device : str
        "auto" takes a GPU if there is one.
    verbose : int
        1 shows progress on stderr.

    Attributes
    ----------
    model_ : Autoregressive
        p(x); its ``complete`` draws what follows on the first features of a row.
    schema_ : Schema
        What the rows are; ``schema_.likelihood`` is the one in use.
    history_ : list of dict
        One record an epoch. There are no latent variables, so the ELBO of the training loop is log p(x) itself and its
        KL is 0; nats a row.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    van den Oord, Kalchbrenner & Kavukcuoglu, 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import PixelRNN
    >>> rnn = PixelRNN(max_epochs=2, random_state=0).fit(load_iris().data)
    >>> rnn.sample(3).shape
    (3, 4)
    """

    PARAMETERS = PIXEL_RNN_PARAMETERS
    GAPS: ClassVar[Gaps] = "somewhere"  # at the end of a row

    model_: Autoregressive

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        likelihood: str = "auto",
        min_scale: float = 0.01,
        binarize: str | None = None,
        image_shape: tuple[int, ...] | None = None,
        layout: str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float = 4e-3,
        lr_schedule: str = "cosine",
        weight_decay: float = 0.0,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 0.0,
        warm_start: bool = False,
        random_state: Seed = None,
        device: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.likelihood = likelihood
        self.min_scale = min_scale
        self.binarize = binarize
        self.image_shape = image_shape
        self.layout = layout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _objective(self) -> Objective:
        """−log p(x): there are no latent variables."""
        return elbo()

    def _assemble(self, generator: torch.Generator) -> None:
        schema = self.schema_
        scale = "decoder" if schema.kind.has_scale else "auto"
        head = schema.kind.head(schema, scale=scale, min_scale=self.min_scale, per_entry=False)
        counted = torch.from_numpy(schema.counted)
        _, n_rows, length = to_grid(counted[None], is_image=schema.is_image).shape
        reach = REACH * (schema.event_shape[0] if schema.is_image else 0)
        network = RasterGRU(
            (n_rows, length), head.n_parameters, self.hidden_size, _view(schema, generator), reach, generator
        )
        with torch.no_grad():  # at the start every conditional is near the feature's own distribution
            bias = to_grid(schema.output_bias(head.n_parameters), is_image=schema.is_image)
            network.bias.copy_(bias.movedim(0, -1))
        model = Autoregressive(network, head, counted, log_unit_of(schema), is_image=schema.is_image)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]

    def sample(self, n_samples: int = 1, mean: bool = False, random_state: Seed = None) -> np.ndarray:
        """New rows, one feature after another.

        Parameters
        ----------
        n_samples : int
        mean : bool
            The means E[x_j | x_<j] of the features, each given those *drawn* before it, instead of draws from p(x).
        random_state : int, optional
            The estimator's if None: with a fixed one, two calls give the same rows.

        Returns
        -------
        ndarray, shape (n_samples, *row)
        """
        return super().sample(n_samples, mean, random_state)


def _view(schema: Schema, generator: torch.Generator) -> nn.Module:
    """The view of an entry that the network reads."""
    if schema.kind.is_nominal:
        return Level(schema.n_categories, generator)
    return nn.Sequential(Values(schema.kind.view), Number())
