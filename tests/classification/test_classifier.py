"""VAEClassifier: scikit-learn's checks, rows without a label, labels of any kind, saving, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from lowerbound import (
    IWAE,
    MLP,
    PPCA,
    VAE,
    Adam,
    BernoulliLikelihood,
    EarlyStopping,
    GaussianLikelihood,
    SampledELBO,
    VAEClassifier,
    load,
)
from lowerbound.estimators.gradient import WorseThanIndependentWarning

X, SPECIES = load_iris(return_X_y=True)
TINY = VAE(2, network=MLP((8,)), max_epochs=2, random_state=0)
BRIEF = VAE(2, network=MLP((16,)), optimizer=Adam(2e-2), max_epochs=8)
pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed", "ignore:.*constant feature")


@pytest.mark.touches_global_random_state
@parametrize_with_checks([VAEClassifier(BRIEF, random_state=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_rows_without_a_label_teach_it():
    digits, truth = load_digits(return_X_y=True)
    known = np.random.default_rng(0).random(len(truth)) < 0.05
    parameters = {"network": MLP((128,)), "likelihood": GaussianLikelihood(), "max_epochs": 20, "random_state": 0}
    accuracy = {}
    for name, rows in (("all rows", np.ones(len(truth), bool)), ("labeled rows", known)):
        vae = VAE(8, **parameters, optimizer=Adam(4e-3), batch_size=64)
        y = np.where(known, truth, np.nan)
        classifier = VAEClassifier(vae).fit(digits[rows], y[rows])
        accuracy[name] = classifier.score(digits[~known], truth[~known])
    linear = LogisticRegression(max_iter=1000).fit(digits[known], truth[known]).score(digits[~known], truth[~known])
    error = np.sqrt(0.25 / (~known).sum())
    assert accuracy["all rows"] > max(accuracy["labeled rows"], linear) + 2 * error


@pytest.mark.parametrize(
    ("classes", "gaps"),
    [
        (np.array(["setosa", "versicolor", "virginica"]), True),
        (np.array([10, -3, 2]), False),
        (np.array([1.5, 0.5, 7.5]) * 2, True),
    ],
)
def test_labels_may_be_words_or_numbers(classes, gaps):
    y = classes[SPECIES].astype(object)
    y[::3] = None if gaps else y[::3]
    classifier = VAEClassifier(VAE(2, network=MLP((32,)), max_epochs=60, random_state=0)).fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(classes))
    assert (classifier.predict(X) == classes[SPECIES]).mean() > 0.8
    assert (
        classifier.classes_[classifier.class_probabilities(X).probability.argmax(1)] == classes[SPECIES]
    ).mean() > 0.8
    np.testing.assert_allclose(classifier.predict_proba(X).sum(1), 1)
    drawn = classifier.estimator_.sample(200, context=classes[2]).mean(0)
    assert np.abs(drawn - X[SPECIES == 2].mean(0)).max() < np.abs(drawn - X[SPECIES != 2].mean(0)).max()


def test_two_classes_of_minus_one_and_one_are_classes():
    y = np.where(SPECIES == 0, -1, 1)
    assert VAEClassifier(TINY).fit(X, y).classes_.tolist() == [-1, 1]


def test_minus_one_beside_classes_is_asked_about():
    with pytest.warns(UserWarning, match="set unlabeled=-1"):
        VAEClassifier(TINY).fit(X, SPECIES - 1)


def test_it_comes_back_from_a_folder(tmp_path):
    y = pd.Series(np.array(["a", "b", "c"])[SPECIES]).where(SPECIES != 1, None)
    classifier = VAEClassifier(TINY, label_weight=2.0, unlabeled="c").fit(X, y.where(np.arange(150) % 2 == 0, "b"))
    classifier.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_log_proba(X), classifier.predict_log_proba(X))
    assert loaded.classes_.tolist() == classifier.classes_.tolist() == ["a", "b"]
    assert loaded.get_params(deep=False) | {"estimator": None} == {
        "estimator": None, "label_weight": 2.0, "unlabeled": "c", "random_state": None,
    }  # fmt: skip


def test_the_same_seed_gives_the_same_classifier():
    one, other = (VAEClassifier(TINY, random_state=3).fit(X, SPECIES).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_grid_reaches_into_the_vae():
    grid = GridSearchCV(VAEClassifier(TINY), {"estimator__latent_dim": [1, 2], "label_weight": [1.0]}, cv=2)
    assert grid.fit(X, SPECIES).best_params_["estimator__latent_dim"] in (1, 2)


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (TINY, [None] * 150, "no row has a label"),
        (TINY, ["a", 1] * 75, "mixes words and numbers"),
        (TINY, X[:, 0], "Unknown label type"),
        (PPCA(2), SPECIES, "estimator must be a VAE"),
        (VAE(posterior="mean_field"), SPECIES, "keeps one code a row"),
        (VAE(posterior="mcem"), SPECIES, "keeps one code a row"),
        (VAE(objective=IWAE(5)), SPECIES, "can't sum the class out"),
        (VAE(objective=SampledELBO(gradient="score")), SPECIES, "can't sum the class out"),
    ],
)
def test_it_says_what_it_cannot(estimator, y, message):
    with pytest.raises(ValueError, match=message):
        VAEClassifier(estimator).fit(X, y)


def test_gaps_in_the_rows_are_allowed():
    rows = X.copy()
    rows[::4, 2] = np.nan
    classifier = VAEClassifier(VAE(2, network=MLP((32,)), max_epochs=60, random_state=0)).fit(rows, SPECIES)
    assert classifier.score(rows, SPECIES) > 0.8
    nothing = np.full((1, 4), np.nan)
    assert classifier.predict_proba(nothing) == pytest.approx(np.full((1, 3), 1 / 3), abs=0.01)


def test_grey_values_may_be_binarized_by_chance():
    digits, truth = load_digits(return_X_y=True)
    images = (digits * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    likelihood = BernoulliLikelihood(binarize="sample")
    vae = VAE(4, network=MLP((64,)), likelihood=likelihood, optimizer=Adam(4e-3), batch_size=64, max_epochs=15)
    classifier = VAEClassifier(vae, random_state=0).fit(images, np.where(np.arange(len(truth)) % 4 == 0, truth, np.nan))
    assert classifier.score(images, truth) > 0.8
    np.testing.assert_allclose(classifier.predict_proba(images[:5]), classifier.predict_proba(images)[:5], atol=1e-12)


def test_a_mark_that_no_row_has_is_said():
    with pytest.warns(UserWarning, match="no row has the label 'x'"):
        VAEClassifier(TINY, unlabeled="x").fit(X, SPECIES)


def test_a_good_fit_is_not_called_worse_than_independent_features():
    """Rows without a label are judged given their most probable class."""
    rng = np.random.default_rng(0)
    c = np.arange(600) % 3
    rows = 3 * rng.normal(size=(3, 10))[c] + rng.normal(size=(600, 10))
    y = np.where(np.arange(600) // 3 % 6 == 0, c, -1)
    vae = VAE(2, network=MLP((32,)), max_epochs=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WorseThanIndependentWarning)
        assert VAEClassifier(vae, unlabeled=-1).fit(rows, y).score(rows, c) > 0.95


def test_labels_that_are_all_held_out_are_said():
    y = np.full(150, -1)
    y[[0, 149]] = 0, 1
    vae = VAE(2, network=MLP((8,)), max_epochs=1, early_stopping=EarlyStopping(fraction=0.8), random_state=1)
    with pytest.raises(ValueError, match="all rows with a label were held out"):
        VAEClassifier(vae, unlabeled=-1).fit(X, y)
