"""The contract of every part: checked when it is made, never changed, and written and read as JSON, TOML and Python."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import re
import tomllib
from typing import Any

import numpy as np
import pytest
import tomli_w
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

import lowerbound
from lowerbound import ELBO, IWAE, MLP, VAE, Adam, Autoencoder, EarlyStopping, Ladder, PixelRNN, VampPrior, load
from lowerbound.parameters.parameter import Parameter, Part, plain
from lowerbound.parameters.tables import AUTOENCODER_PARAMETERS
from lowerbound.parameters.vae import VAE_PARAMETERS

X = load_iris().data
OWNERS = {**AUTOENCODER_PARAMETERS, **VAE_PARAMETERS}
KINDS = [(owner, kind) for owner, row in OWNERS.items() for kind in row.kinds]
FIELDS = [(owner, kind, field) for owner, kind in KINDS for field in kind.options()]
NAMES = {name: getattr(lowerbound, name) for name in lowerbound.__all__ if name != "diagnostics"}


def another(parameter: Parameter) -> Any:
    """A value that is allowed and isn't the default."""
    candidates = [*parameter.choices, (3,) if parameter.many else 3, 0.4]
    return next(v for v in candidates if v != parameter.default and parameter.accepts(v))


def changed(kind: type[Part], field: str) -> Part:
    """A part with one field changed, and those that have to go with it."""
    value = another(kind.options()[field])
    with_it = {"min_scale": {"scale": "feature"}} if "scale" in kind.options() else {}
    return kind(**{**with_it.get(field, {}), field: value})


@pytest.mark.parametrize(("owner", "kind"), KINDS)
def test_a_word_is_the_part_with_its_defaults(owner, kind):
    row = OWNERS[owner]
    word = True if kind is row.yes else kind.kind
    assert row.accepts(word)
    assert row.accepts(kind())
    assert row.part(word) == kind()
    assert getattr(lowerbound, kind.__name__) is kind


@pytest.mark.parametrize(("owner", "kind", "field"), FIELDS)
def test_a_part_comes_back_from_its_record_its_repr_and_its_copies(owner, kind, field):
    part = changed(kind, field)
    record = plain(part)
    assert OWNERS[owner].from_plain(json.loads(json.dumps(record))) == part
    without_none = {name: value for name, value in record.items() if value is not None}
    assert OWNERS[owner].from_plain(tomllib.loads(tomli_w.dumps(without_none))) == part
    assert eval(repr(part), NAMES) == part
    assert clone(part) is part
    assert copy.deepcopy(part) == part
    assert hash(part) == hash(part.replaced())
    assert part.get_params() == {name: getattr(part, name) for name in kind.options()}


@pytest.mark.parametrize(("owner", "kind", "field"), FIELDS)
def test_a_field_is_checked_when_the_part_is_made(owner, kind, field):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {field} must be .*, got <object"):
        kind(**{field: object()})
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), field, another(kind.options()[field]))


@pytest.mark.parametrize(("owner", "kind"), KINDS)
def test_fields_are_documented_and_say_their_types(owner, kind):
    text = inspect.getdoc(kind) or ""
    lacking = [name for name in kind.options() if not re.search(rf"(^|, ){name}(,| :|$)", text, re.MULTILINE)]
    assert not lacking
    assert set(inspect.get_annotations(kind)) - {"kind", "file"} == set(kind.options())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VampPrior().replaced(n_component=3), "no field 'n_component' .did you mean 'n_components'"),
        (lambda: IWAE(1, gradient="vimco"), "n_samples=2"),
        (lambda: lowerbound.GaussianLikelihood("unit", min_scale=0.1), "scale='unit' is fixed"),
        (lambda: lowerbound.DiscretizedLogistic(3, scale="shared"), "scales from the decoder"),
        (lambda: VAE_PARAMETERS["prior"].from_plain({"kind": "vam"}), "did you mean 'vamp'"),
        (lambda: VAE_PARAMETERS["prior"].from_plain({"n_components": 3}), "needs a kind"),
    ],
)
def test_what_a_part_cannot_be_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_record_needs_no_kind_where_there_is_one_alone():
    assert VAE_PARAMETERS["optimizer"].from_plain({"lr": 0.01}) == Adam(0.01)
    assert VAE_PARAMETERS["early_stopping"].from_plain({"patience": 3}) == EarlyStopping(patience=3)


# in an estimator


def test_parameters_of_parts_are_got_and_set_as_scikit_learn_does():
    vae = VAE(prior=VampPrior(7), latent_dim=Ladder(2))
    assert vae.get_params()["prior__n_components"] == 7
    assert "prior__n_components" not in vae.get_params(deep=False)
    before = vae.prior
    vae.set_params(prior__n_components=9, optimizer=Adam(0.1), optimizer__ema=0.5)
    assert (vae.prior, vae.optimizer, before) == (VampPrior(9), Adam(0.1, ema=0.5), VampPrior(7))
    assert clone(vae).get_params() == vae.get_params()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prior__n_components": 3}, r"prior='normal' is no part.*prior=MixturePrior\(\)"),
        ({"optimizer__lr": 3}, r"optimizer='adam' is no part.*optimizer=Adam\(\)"),
        ({"prio__n_components": 3}, "no parameter 'prio' .did you mean 'prior'"),
        ({"lr": 3}, r"VAE has no parameter 'lr': it is a field of a part, optimizer=Adam\(lr=…\)$"),
        ({"validation_fraction": 0.2}, r"early_stopping=EarlyStopping\(fraction=…\)$"),
        ({"n_epochs": 3}, "VAE has no parameter 'n_epochs': use max_epochs$"),
        ({"latent_dmi": 3}, "no parameter 'latent_dmi' .did you mean 'latent_dim'"),
    ],
)
def test_a_field_of_a_word_cannot_be_set(params, message):
    with pytest.raises(ValueError, match=message):
        VAE().set_params(**params)


@pytest.mark.parametrize(
    ("estimator", "good", "bad"),
    [
        (VAE(prior=VampPrior(7)), {"max_epochs": 3, "prior__n_components": 5}, {"prior__n_componets": 3}),
        (VAE(), {"max_epochs": 3}, {"lr": 0.1}),
        (VAE(), {"max_epochs": 3}, {"optimizer__lr": 0.1}),
        (VAE(prior=VampPrior(7)), {"max_epochs": 3}, {"prior__n_components": -1}),
        (lowerbound.VAEImputer(VAE()), {"n_importance": 3}, {"estimator__lr": 1}),
        (lowerbound.VAEImputer(), {"n_importance": 3}, {"n_imputation": 1}),
        (lowerbound.VAEOutlierDetector(VAE()), {"novelty": True}, {"estimator__latent_dmi": 1}),
        (lowerbound.PyODDetector(), {"contamination": 0.2}, {"contaminaton": 1}),
    ],
)
def test_all_parameters_are_set_or_none(estimator, good, bad):
    before = estimator.get_params()
    for params in ({**good, **bad}, {**bad, **good}):
        with pytest.raises(ValueError, match=r"no (parameter|field)|is no part|must be"):
            estimator.set_params(**params)
        assert estimator.get_params() == before
    estimator.set_params(**good)
    assert {name: estimator.get_params()[name] for name in good} == good


PARTS = [(name, kind) for name, parameter in VAE_PARAMETERS.items() for kind in parameter.kinds]


@pytest.mark.parametrize(("name", "kind"), PARTS, ids=lambda each: getattr(each, "__name__", each))
def test_a_part_without_brackets_gets_a_hint(name, kind):
    message = rf"{name} must be .*: a class, and an instance is needed, {kind.__name__}\(\)$"
    with pytest.raises(ValueError, match=message):
        VAE(**{name: kind}).fit(X)


@pytest.mark.parametrize(
    "estimator",
    [
        VAE(
            Ladder(3, 8), network="mlp", likelihood=lowerbound.DiscretizedLogistic(5), objective=ELBO(free_bits=0.1),
            optimizer=Adam(2e-3, ema=0.999), early_stopping=EarlyStopping(0.2, patience=5),
        ),
        VAE(posterior="mean_field", prior=lowerbound.MixturePrior(3)),
        Autoencoder(network=MLP((5,), "tanh"), penalty=lowerbound.L1Penalty(0.3), noise="masking"),
        PixelRNN(likelihood=lowerbound.BernoulliLikelihood("sample"), optimizer=Adam(weight_decay=0.1)),
    ],
)  # fmt: skip
def test_the_repr_of_an_estimator_can_be_pasted(estimator):
    pasted = eval(repr(estimator), NAMES)
    assert pasted.get_params() == estimator.get_params()


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
def test_a_grid_goes_over_fields_and_parts():
    vae = VAE(2, network=MLP((8,)), prior=VampPrior(3), max_epochs=1, early_stopping=False, random_state=0)
    grid = {"prior__n_components": [2, 4], "optimizer": [Adam(1e-3), Adam(1e-2)]}
    search = GridSearchCV(vae, grid, cv=2, error_score="raise").fit(X)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.prior.n_components in (2, 4)


def test_a_grid_over_fields_of_a_word_gets_a_sentence():
    vae = VAE(2, prior="vamp", max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"prior='vamp' is no part.*give a part"):
        GridSearchCV(vae, {"prior__n_components": [2, 4]}, cv=2, error_score="raise").fit(X)


def test_parts_are_saved_and_loaded(tmp_path):
    vae = VAE(2, network=MLP((8,)), prior=VampPrior(3), optimizer=Adam(0.01), max_epochs=1, random_state=0).fit(X)
    vae.save(tmp_path / "m")
    record = json.loads((tmp_path / "m" / "model.json").read_text())
    assert record["parameters"]["prior"] == {"kind": "vamp", "n_components": 3}
    assert load(tmp_path / "m").get_params() == vae.get_params()
