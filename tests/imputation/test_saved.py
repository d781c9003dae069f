"""A saved imputer fills as the one in memory."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from tests.imputation.test_imputer import table, with_gaps

from lowerbound import MLP, PPCA, VAE, Gaussian, VAEImputer, load
from lowerbound.imputation.fillers import OfValues, WithErrors
from lowerbound.imputation.gaussians import CategoryFiller, FewValues, fit_gaussian, fit_location
from lowerbound.imputation.network import EstimatorFiller
from lowerbound.imputation.stacking import Stack
from lowerbound.storage.atomic import SavedFileError

FRAME = table(300).assign(code=np.random.default_rng(1).integers(0, 5, 300).astype(float))
IRIS = with_gaps(load_iris().data)


@pytest.fixture(scope="module")
def imputer():
    """Fitted to columns of every kind, with a filler of every kind in its blend."""
    imputer = VAEImputer(models=("gaussian", "mixture"), add_indicator=True, random_state=0).fit(FRAME)
    code = imputer._code
    Z = code.encode(FRAME)
    gaussian, few = fit_gaussian(Z, 0), FewValues.of(Z, np.flatnonzero(code.raw.blocks < 0))
    vae = VAE(2, network=MLP((8,)), likelihood="gaussian", max_epochs=2, random_state=0).fit(Z)
    location = fit_location(Z, code.raw, gaussian, 4, 1.0, 0)
    leveled = CategoryFiller(few, fit_gaussian(few.widened(Z), 0))
    assert len(few.places) > 0
    network = OfValues(WithErrors(EstimatorFiller(vae, 50), np.ones(code.width)), code.scale)
    fillers = [gaussian, leveled, location, network]
    imputer._filler = Stack(fillers, np.full((4, code.width), 0.25), code.raw, code.scale)
    return imputer


@pytest.fixture(scope="module")
def folder(imputer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "imputer"
    imputer.save(folder)
    return folder


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_everything_comes_back(imputer, folder):
    again = load(folder)
    for a, b in ((imputer, again), (imputer.set_output(transform="pandas"), again.set_output(transform="pandas"))):
        pd.testing.assert_frame_equal(pd.DataFrame(a.transform(FRAME)), pd.DataFrame(b.transform(FRAME)))
    for ours, theirs in zip(imputer.sample_imputations(FRAME, 3), again.sample_imputations(FRAME, 3), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    for ours, theirs in zip(imputer.impute_interval(FRAME[:9]), again.impute_interval(FRAME[:9]), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    assert again.get_params() == imputer.get_params()
    assert again.report_ == imputer.report_
    assert again.get_feature_names_out().tolist() == imputer.get_feature_names_out().tolist()


def test_the_command_gives_the_same_tables(folder, imputer, tmp_path):
    from click.testing import CliRunner

    from lowerbound.cli import main

    FRAME.to_parquet(tmp_path / "gaps.parquet")
    words = ["impute", folder, tmp_path / "gaps.parquet", "-o", tmp_path / "filled.parquet"]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    filled = pd.read_parquet(tmp_path / "filled.parquet")
    expected = imputer.set_output(transform="pandas").transform(FRAME)[list(FRAME)]
    pd.testing.assert_frame_equal(filled, expected, check_dtype=False, check_categorical=False)


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning", "ignore:the saved imputer was fitted to")
def test_the_command_sets_the_seed_and_the_samples_of_a_saved_imputer(folder, tmp_path):
    from click.testing import CliRunner

    from lowerbound.cli import main

    FRAME[:40].to_parquet(tmp_path / "gaps.parquet")

    def filled(*words):
        path = tmp_path / "filled.parquet"
        words = ["impute", str(folder), str(tmp_path / "gaps.parquet"), "-o", str(path), "--force", *words]
        assert CliRunner().invoke(main, words).exit_code == 0
        return pd.read_parquet(path)

    assert not filled().equals(filled("--n-importance", "2"))
    assert filled("--n-importance", "50").equals(filled())  # what was saved
    draws = [filled("--imputations", "2", *seed) for seed in ([], ["--random-state", "0"], ["--random-state", "5"])]
    assert draws[0].equals(draws[1])
    again = pd.concat(load(folder).sample_imputations(FRAME[:40], 2, random_state=5), ignore_index=True)
    pd.testing.assert_frame_equal(
        draws[2][list(FRAME)].reset_index(drop=True), again, check_dtype=False, check_categorical=False
    )
    assert not draws[2].equals(draws[0])


def test_the_command_refuses_an_imputer_that_leaves_out_columns(tmp_path):
    from click.testing import CliRunner

    from lowerbound.cli import main

    with pytest.warns(UserWarning, match="left out"):
        VAEImputer(random_state=0).fit(FRAME.assign(count=np.nan)).save(tmp_path / "imputer")
    FRAME.to_csv(tmp_path / "gaps.csv", index=False)
    words = ["impute", str(tmp_path / "imputer"), str(tmp_path / "gaps.csv"), "-o", str(tmp_path / "filled.csv")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "keep_empty_features" in result.output


@pytest.mark.parametrize("fitted", [True, False])
def test_one_model_alone(tmp_path, fitted):
    estimator = Gaussian().fit(IRIS) if fitted else Gaussian()
    imputer = VAEImputer(estimator, random_state=3).fit(IRIS)
    imputer.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.transform(IRIS), imputer.transform(IRIS))
    assert hasattr(again.estimator, "model_") == fitted
    np.testing.assert_array_equal(again.fit(IRIS).transform(IRIS), imputer.transform(IRIS))


def test_what_set_output_chose_comes_back(tmp_path):
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    for saved in (VAEImputer(models=("gaussian",), random_state=0), PPCA(2)):
        saved.fit(frame).set_output(transform="pandas").save(tmp_path / "saved")
        pd.testing.assert_frame_equal(load(tmp_path / "saved").transform(frame), saved.transform(frame))
        saved.set_output(transform="default").save(tmp_path / "saved")
        assert isinstance(load(tmp_path / "saved").transform(frame), np.ndarray)


def test_mixtures_of_arrays(tmp_path):
    X = np.where(np.arange(150)[:, None] < 75, IRIS, IRIS + 5)
    imputer = VAEImputer(models=("gaussian", "mixture"), random_state=0).fit(X)
    assert len(imputer._filler.fillers) > 1
    imputer.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved").transform(X), imputer.transform(X))


def test_wide_tables_keep_their_factors(tmp_path):
    X = with_gaps(np.random.default_rng(0).normal(size=(40, 3)) @ np.random.default_rng(1).normal(size=(3, 70)))
    imputer = VAEImputer(random_state=0).fit(X)
    imputer.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved").transform(X), imputer.transform(X))


def test_what_cannot_be_saved_or_read_is_said(tmp_path, folder):
    pairs = pd.DataFrame({"x": [1.0, 2, 3], "pair": pd.Series([(1, 2)] * 3, dtype=object)})
    with pytest.raises(ValueError, match="convert the column to text"):
        VAEImputer(random_state=0).fit(pairs).save(tmp_path / "strange")
    assert not (tmp_path / "strange" / "model.json").exists()
    record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / record["weights"]).write_bytes((folder / record["weights"]).read_bytes())
    record["fillers"][0]["model"] = "LinearGaussian"
    (damaged / "model.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(SavedFileError, match="damaged"):
        load(damaged)
