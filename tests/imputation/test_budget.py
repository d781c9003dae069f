"""The time of an imputer's fit: what it may take, what it says, and what an interruption leaves."""

import time

import numpy as np
import pytest
from sklearn.datasets import load_iris
from tests.imputation.test_imputer import rings, with_gaps

from lowerbound import VAEImputer
from lowerbound.imputation import budget, candidates, selection

GAPS, IRIS = with_gaps(rings()), with_gaps(load_iris().data)


def test_a_fit_whose_time_is_over_is_made_of_what_there_is():
    with pytest.warns(UserWarning, match=r"the time is over: the imputer is made of what was fitted so far \(gaussian"):
        imputer = VAEImputer(max_seconds=1e-3, random_state=0).fit(GAPS)
    assert [record["name"] for record in imputer.report_] == ["gaussian"]
    assert np.isfinite(imputer.transform(GAPS)).all()
    assert len(imputer.sample_imputations(GAPS, 2)) == 2


def test_a_network_stops_when_the_time_is_over():
    X = with_gaps(np.random.default_rng(0).normal(size=(3000, 4)))
    started = time.process_time()
    with pytest.warns(UserWarning, match="the time is over"):
        VAEImputer(models=("gaussian", "network"), max_seconds=1.0, random_state=0).fit(X)
    assert time.process_time() - started < 5


def test_max_seconds_must_be_above_0():
    with pytest.raises(ValueError, match="max_seconds"):
        VAEImputer(max_seconds=0).fit(GAPS)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_an_interruption_leaves_the_best_so_far(monkeypatch):
    monkeypatch.setattr(candidates, "_mixture", interrupt)
    with pytest.warns(UserWarning, match="interrupted: the imputer is made of what was fitted so far"):
        imputer = VAEImputer(models=("gaussian", "mixture"), random_state=0).fit(GAPS)
    assert [record["name"] for record in imputer.report_] == ["gaussian", "mean or mode"]
    assert np.isfinite(imputer.transform(GAPS)).all()


def test_an_interruption_of_the_last_fits_keeps_the_first(monkeypatch):
    monkeypatch.setattr(candidates.View, "whole_gaussian", property(interrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        imputer = VAEImputer(models=("gaussian",), random_state=0).fit(IRIS)
    assert np.isfinite(imputer.transform(IRIS)).all()


def test_an_interruption_before_anything_is_fitted_is_passed_on(monkeypatch):
    monkeypatch.setattr(candidates, "fit_gaussian", interrupt)
    with pytest.raises(KeyboardInterrupt):
        VAEImputer(random_state=0).fit(GAPS)


def test_progress_is_shown_from_the_third_second_on(monkeypatch, capsys):
    VAEImputer(models=("gaussian",), random_state=0).fit(GAPS)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(budget, "PATIENCE", -1)
    VAEImputer(models=("gaussian",), random_state=0).fit(GAPS)
    assert "imputer: fitted gaussian" in capsys.readouterr().err


def test_many_rows_are_compared_on_some_of_them(monkeypatch):
    monkeypatch.setattr(candidates, "MOST_ROWS", 100)
    X = with_gaps(rings(400))
    seen = []
    trial = candidates.Trial
    monkeypatch.setattr(selection, "Trial", lambda *args: seen.append(trial(*args)) or seen[-1])
    VAEImputer(models=("gaussian", "mixture"), random_state=0).fit(X)
    assert seen[0].rest.shape == (100, 3)
    assert seen[0].whole.shape == (400, 3)
