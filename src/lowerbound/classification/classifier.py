"""The classifier: a VAE given the class, and a network of q(c|x), fitted to rows with a label and rows without."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from lowerbound.classification.fitting import fit_with_labels, new_classifier
from lowerbound.data.context import ContextSchema, class_frequencies
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.saving import Restore, Saved, contents, parameters_of, part, plain
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, evaluating
from lowerbound.models.classes import log_class
from lowerbound.models.vae import Encoder
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.parts import IWAE, MCEM, MeanField
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.parameters.tables import CLASSIFIER_PARAMETERS
from lowerbound.precision import Undisturbed
from lowerbound.storage.allowance import Allowance
from lowerbound.storage.atomic import save_folder
from lowerbound.storage.records import is_of
from lowerbound.tasks.classify import ClassProbabilities
from lowerbound.warning import warn


class VAEClassifier(ClassifierMixin, Undisturbed, BaseEstimator):
    """Classifies rows by a variational autoencoder that is given the class, and learns from rows without a label too.

    The class is a latent variable of the rows whose label isn't known: p(x) = Σ_c p(c) ∫ p(z) p(x|z, c) dz with
    q(c, z|x) = q(c|x) q(z|x, c), the model M2 of Kingma et al., 2014. So ``estimator_`` also draws rows of a class, and
    scores rows given one.

    Parameters
    ----------
    estimator : VAE, optional
        The model to be fitted given the class; ``VAE()`` by default.
    label_weight : float
        α, the weight of −log q(c|x) of the labels beside the bound of a row; Kingma et al. take 0.1. The default
        was chosen on digits of 8×8 pixels, of which 5 % had a label: 0.1 gave 66 to 70 % right, 1 to 100 about 90 %.
    unlabeled : object, optional
        A label that marks rows without one, such as −1; NaN, None and NA always do.
    random_state : int, RandomState or None
        The seed of the model; None leaves that of ``estimator``.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    classifier_ : Encoder
        x → log q(c|x), for the categories in the order of the VAE's context.
    estimator_ : VAE
        The fitted model; ``estimator_.given(c)`` is the model of the rows of class c.
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    References
    ----------
    Kingma, Rezende, Mohamed & Welling, 2014, arXiv:1406.5298.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import VAE, VAEClassifier
    >>> X, species = load_iris(return_X_y=True)
    >>> y = [c if i % 5 == 0 else None for i, c in enumerate(species)]  # every fifth label is known
    >>> classifier = VAEClassifier(VAE(2, max_epochs=100), random_state=0).fit(X, y)
    >>> bool(classifier.score(X, species) > 0.85)
    True
    """

    PARAMETERS: ClassVar[dict[str, Parameter]] = CLASSIFIER_PARAMETERS

    classes_: np.ndarray
    estimator_: VAE
    classifier_: Encoder
    _places: np.ndarray  # of the classes among the categories of the VAE's context

    def __init__(
        self, estimator: VAE | None = None, *, label_weight: float = 10.0, unlabeled: Any = None,
        random_state: RandomState = None,
    ) -> None:  # fmt: skip
        self.estimator = estimator
        self.label_weight = label_weight
        self.unlabeled = unlabeled
        self.random_state = random_state

    def fit(self, X: Data, y: Any) -> Self:
        """Fit to rows, some of which may have no label.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : array-like, shape (n,)
            The class of each row; NaN, None or ``unlabeled`` where it isn't known.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If no row has a label, a parameter is out of range, or the rows can't be described.
        """
        for name, parameter in self.PARAMETERS.items():
            parameter.check(getattr(self, name))
        labels = as_labels(y, self.unlabeled)
        check_consistent_length(X, labels)
        vae = self._unfitted()
        self.classes_ = np.unique(np.asarray(labels.dropna().tolist()))
        context = ContextSchema.infer(labels)
        self._places = _places(context, self.classes_)
        self._take(vae, fit_with_labels(vae, X, labels, _log_prior(context), self.label_weight))
        return self

    def predict_log_proba(self, X: Data) -> np.ndarray:
        """log q(c|x) of every row and class, shape (n, K).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        """
        check_is_fitted(self)
        log_prior = torch.from_numpy(_log_prior(self.estimator_.context_))
        on = self.estimator_.given(self.classes_[0]).fitted_.exactly().on(X)
        classifier = copy.deepcopy(self.classifier_).double()
        with evaluating(classifier):
            log_q = torch.cat([log_class(classifier, batch, log_prior) for batch in on.batches(EVALUATION_BATCH)])
        return log_q.cpu().numpy()[:, self._places]

    def predict_proba(self, X: Data) -> np.ndarray:
        """q(c|x) of every row and class, shape (n, K): what the network says; ``class_probabilities`` is p(c|x).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Data) -> np.ndarray:
        """The most probable class of every row, shape (n,).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        """
        log_q = self.predict_log_proba(X)
        return self.classes_[log_q.argmax(1)]

    def class_probabilities(self, X: Data, n_importance: int = 64) -> ClassProbabilities:
        """p(c|x) ∝ p(x|c) p(c) of the fitted model, by importance sampling, with standard errors.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            Samples of q(z|x, c) for each row and class.
        """
        check_is_fitted(self)
        return self.estimator_.class_probabilities(X, n_importance)

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        check_is_fitted(self)
        weights, record = contents(self.estimator_)
        weights |= {f"classifier.{name}": tensor for name, tensor in self.classifier_.state_dict().items()}
        own = {"label_weight": self.label_weight, "unlabeled": plain(self.unlabeled)}
        described = {
            "class": type(self).__name__,
            "parameters": own,
            "estimator": record,
            "classes": self.classes_.tolist(),
        }
        save_folder(Path(path), weights, described)

    @classmethod
    def from_saved(cls, saved: Saved, restore: Restore) -> VAEClassifier:
        """The classifier that ``save`` wrote; ``lowerbound.load`` calls this."""
        tensors, record = saved
        vae = restore(Saved(tensors, record["estimator"]))
        if not isinstance(vae, VAE) or vae.context_ is None or not is_of(record["classes"], list[str | float | bool]):
            raise ValueError("a classifier is made of a VAE that is given the class, and of classes")
        self = cls(cast(VAE, clone(vae)), **parameters_of(cls, record["parameters"]))
        self.classes_ = np.asarray(record["classes"])
        with Allowance(tensors):
            classifier = new_classifier(vae, len(self.classes_))
        classifier.load_state_dict(part(tensors, "classifier."))
        self._places = _places(vae.context_, self.classes_)
        self._take(vae, classifier.to(vae.fitted_.device))
        return self

    def _unfitted(self) -> VAE:
        """The model to be fitted."""
        if not isinstance(self.estimator, VAE | None):
            raise ValueError(f"estimator must be a VAE, got {self.estimator!r}")
        vae = VAE() if self.estimator is None else cast(VAE, clone(self.estimator))
        if isinstance(vae._part("posterior"), MeanField | MCEM):
            raise ValueError(f"posterior={vae.posterior!r} keeps one code a row, not one a class: use 'amortized'")
        if isinstance(vae._part("objective"), IWAE) or vae._part("objective").gradient != "pathwise":
            raise ValueError(
                f"objective={vae.objective!r} can't sum the class out: use 'elbo', with the gradient 'pathwise'"
            )
        if self.random_state is not None:
            vae.random_state = seed_from(self.random_state)
        return vae

    def _take(self, vae: VAE, classifier: Encoder) -> None:
        """Set what was fitted, and what the VAE knows of the columns."""
        self.estimator_, self.classifier_ = vae, classifier
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(vae, name):
                setattr(self, name, getattr(vae, name))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = VAE().__sklearn_tags__().input_tags.allow_nan
        return tags


def _log_prior(context: ContextSchema | None) -> np.ndarray:
    """log p(c) of the categories of the context, by how often each was in the fit."""
    assert context is not None
    return np.log(class_frequencies(context.columns[0]))


def _places(context: ContextSchema, classes: np.ndarray) -> np.ndarray:
    """The places of the classes among the categories of the context."""
    return context.encode(pd.Series(classes, dtype=object), len(classes)).argmax(1)


def as_labels(y: Any, unlabeled: Any = None) -> pd.Series:
    """The label of each row, None where it isn't known; raises where there is none, or they aren't classes."""
    if y is None:
        raise ValueError("VAEClassifier requires y to be passed, but the target y is None")
    y = np.asarray(y, dtype=object) if isinstance(y, (list, tuple)) else y
    labels = pd.Series(column_or_1d(y, warn=True), dtype=object, name="class")
    is_marked = labels == unlabeled
    if unlabeled is not None and not is_marked.any():
        warn(f"no row has the label {unlabeled!r}, which marks rows without one")
    labels = labels.where(labels.notna() & ~is_marked, None)
    known = labels.dropna().tolist()
    if not known:
        raise ValueError("no row has a label: give the class of some, or fit a VAE, which needs none")
    values = np.asarray(known)
    if values.dtype.kind in "US" and not all(isinstance(label, str) for label in known):
        raise ValueError("y mixes words and numbers: make all labels words")
    assert_all_finite(values, input_name="y")
    check_classification_targets(values)
    if (
        unlabeled is None
        and values.dtype.kind in "if"
        and -1 in values
        and len(np.unique(values)) > 2
        and values.min() == -1
    ):
        warn("-1 counts as a class; if it marks rows without a label, set unlabeled=-1")
    return labels
