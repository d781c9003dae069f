"""Two models are compared where their log p(x) are of the same things, and refused with a sentence elsewhere."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import VAE, Factorized, GaussianLikelihood, Mixture
from lowerbound.comparison.comparable import why_incomparable
from lowerbound.comparison.comparison import compare_models
from lowerbound.comparison.split import split

pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # brief fits

rng = np.random.default_rng(0)
N = 200
TABLE = pd.DataFrame(
    {
        "real": rng.normal(size=N),
        "whole": rng.poisson(40, N),
        "word": rng.choice(["a", "b", "c"], N),
    }
)
NAMES = ("A", "B")


def fitted(table, **columns):
    return Factorized(columns=columns or "auto").fit(table)


def why(a, b):
    return why_incomparable(a, b, NAMES)


def test_models_of_the_same_columns_are_comparable():
    vae = VAE(1, max_epochs=1, random_state=0).fit(TABLE)
    assert why(vae, fitted(TABLE)) is None
    numbers = TABLE[["real"]].assign(other=rng.normal(size=N))
    assert why(fitted(numbers), Mixture(2, random_state=0).fit(numbers)) is None


@pytest.mark.parametrize(
    ("table", "columns", "sentence"),
    [
        (TABLE, {"whole": "continuous"}, "in column 'whole' log p(x) of A is a probability of whole numbers, "
         "and that of B is a density"),
        (TABLE.assign(real=np.where(rng.random(N) < 0.5, 0.0, TABLE["real"])), {},
         "in column 'real' log p(x) of A is a density, and that of B is a density with a probability at 0"),
        (TABLE.assign(word=rng.choice(["a", "b", "c", "d"], N)), {},
         "they have different categories in column 'word': B alone knows 'd'"),
        (TABLE.assign(word=rng.choice(["a", "b", "e"], N)), {},
         "they have different categories in column 'word': A alone knows 'c' and B alone knows 'e'"),
        (TABLE.assign(word="a"), {},
         "in column 'word' log p(x) of A is a probability of 3 categories, and that of B leaves it out"),
    ],
)  # fmt: skip
def test_the_column_that_differs_is_named(table, columns, sentence):
    assert why(fitted(TABLE), fitted(table, **columns)) == sentence


@pytest.mark.filterwarnings("ignore:1 constant feature")
def test_arrays():
    X, constant = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    constant[:, 1] = 2
    words = "in feature 1 log p(x) of A is a density, and that of B leaves it out"
    assert why(Factorized().fit(X), Factorized().fit(constant)) == words
    bits = rng.integers(0, 2, (50, 3))
    several = "in feature 0 (and 2 more) log p(x) of A is a density, and that of B is a probability of 2 categories"
    assert why(Factorized().fit(X), Factorized().fit(bits)) == several
    frame = pd.DataFrame(bits, columns=list("xyz"))
    assert why(Factorized().fit(bits), fitted(frame)) is None  # both are probabilities of 0 and 1
    levels = rng.integers(0, 256, (80, 3)).astype(np.uint8)
    assert why(Factorized().fit(levels), VAE(1, max_epochs=1, random_state=0).fit(levels)) is None
    assert why(Factorized().fit(X), Factorized().fit(X[:, :2])) == "rows of A have shape (3,), and of B (2,)"


def with_gaps(X):
    return np.where(rng.random(X.shape) < 0.2, np.nan, X)


def test_a_model_of_the_mask_is_no_density_of_the_values_alone():
    X = with_gaps(rng.normal(size=(60, 2)))
    masked = VAE(1, likelihood=GaussianLikelihood(missingness="self_masking"), max_epochs=1, random_state=0).fit(X)
    plain = Factorized().fit(X)
    sentence = "log p(x) of {} is of which values are missing too, and that of {} is not"
    assert why(masked, plain) == sentence.format("A", "B")
    assert why(plain, masked) == sentence.format("B", "A")


def test_a_comparison_leaves_out_what_is_of_other_things():
    X = with_gaps(rng.normal(size=(60, 2)))
    likelihood = GaussianLikelihood(missingness="self_masking")
    parameters = {"vae": {"likelihood": likelihood, "max_epochs": 1}}
    independent, vae = compare_models(split(X), ("factorized", "vae"), parameters=parameters)
    assert independent.log_p is not None
    assert vae.log_p is None
    assert vae.reason == "it can't be compared: log p(x) is of which values are missing too"
