"""The recurrent network over features as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from lowerbound.assembly.vae import log_unit_of
from lowerbound.core import Objective
from lowerbound.data.schema import Schema
from lowerbound.estimators.density import ExactEstimator, Gaps
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.inference.objectives import elbo
from lowerbound.models.autoregressive import Autoregressive, to_grid
from lowerbound.nn.inputs import Values
from lowerbound.nn.recurrent import Level, Number, RasterGRU
from lowerbound.parameters.likelihoods import Likelihood
from lowerbound.parameters.parts import Adam, EarlyStopping
from lowerbound.parameters.seed import RandomState
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

    ``sample(mean=True)`` gives the means E[x_j | x_<j] of the features, each given those *drawn* before it.

    Parameters
    ----------
    hidden_size : int
        Hidden units of each of the two recurrent layers (one, for a table).
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"} or a part
        p(x_j | x_<j), as in ``VAE``; every scale is the network's. "auto": Bernoulli for 0/1 data, discretized logistic
        over grey levels for uint8, else Gaussian.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows: without it they are read as one long row.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    optimizer, early_stopping, max_epochs, batch_size, warm_start, random_state, device, verbose
        As in ``VAE``; the learning rate is 0.004 by default, and what is held out is scored by its likelihood.

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

    LR = 4e-3

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        likelihood: str | Likelihood = "auto",
        image_shape: Sequence[int] | None = None,
        layout: str = "auto",
        optimizer: str | Adam = "adam",
        early_stopping: bool | EarlyStopping = True,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        warm_start: bool = False,
        random_state: RandomState = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.likelihood = likelihood
        self.image_shape = image_shape
        self.layout = layout
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        likelihood = self._part("likelihood")
        if getattr(likelihood, "missingness", None) is not None:
            raise ValueError("a PixelRNN has no model of the mask: leave missingness=None")
        if getattr(likelihood, "scale", "auto") not in ("auto", "decoder"):
            raise ValueError("a PixelRNN has every scale from its network: leave scale='auto'")

    def _objective(self) -> Objective:
        """−log p(x): there are no latent variables."""
        return elbo()

    def _likelihood(self) -> Likelihood | str:
        return self._part("likelihood")

    def _kl_weight(self) -> float:
        return 0.0

    def _assemble(self, generator: torch.Generator) -> None:
        schema = self.schema_
        asked = self._part("likelihood")
        options = {} if isinstance(asked, str) else asked.head_options
        options |= {"scale": "decoder"} if schema.kind.has_scale else {}
        head = schema.kind.head(schema, **options, per_entry=False)
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


def _view(schema: Schema, generator: torch.Generator) -> nn.Module:
    """The view of an entry that the network reads."""
    if schema.kind.is_nominal:
        return Level(schema.n_categories, generator)
    return nn.Sequential(Values(schema.kind.view), Number())
