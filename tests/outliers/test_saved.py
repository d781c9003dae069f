"""A saved detector is the one in memory."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from lowerbound import MLP, VAE, Amortized, VAEOutlierDetector, load
from lowerbound.storage.atomic import SavedFileError

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")

rng = np.random.default_rng(0)
FRAME = pd.DataFrame(rng.normal(size=(120, 2)) @ rng.normal(size=(2, 3)) + 5, columns=list("abc"))
FRAME["kind"] = pd.Categorical(rng.choice(["x", "y"], 120))
FRAME.loc[3:9, "b"] = np.nan


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    detector = VAEOutlierDetector(n_steps=30, calibration_fraction=0.2, random_state=0).fit(FRAME)
    folder = tmp_path_factory.mktemp("saved") / "detector"
    detector.save(folder)
    return detector, folder


def test_everything_comes_back(saved):
    detector, folder = saved
    again = load(folder)
    pd.testing.assert_frame_equal(again.table(FRAME), detector.table(FRAME))
    np.testing.assert_array_equal(again.predict(FRAME), detector.predict(FRAME))
    np.testing.assert_array_equal(again.p_values(FRAME), detector.p_values(FRAME))
    pd.testing.assert_frame_equal(again.explain(FRAME[:9]), detector.explain(FRAME[:9]))
    assert again.get_params() == detector.get_params()
    assert (again.criterion_, again.offset_) == (detector.criterion_, detector.offset_)
    assert again.feature_names_in_.tolist() == list(FRAME)
    assert again.n_features_in_ == 4


def test_it_can_be_fitted_anew_as_it_was(saved, tmp_path):
    detector, folder = saved
    np.testing.assert_array_equal(load(folder).fit(FRAME).score_samples(FRAME), detector.score_samples(FRAME))
    rows = FRAME[["a", "c"]]
    vae = VAE(1, network=MLP((8,)), max_epochs=3, random_state=0)
    for given, n, is_kept in ((vae, 1, False), (VAE(1, max_epochs=3, random_state=0).fit(rows), "auto", True)):
        VAEOutlierDetector(given, n_estimators=n, random_state=0).fit(rows).save(tmp_path / "own")
        again = load(tmp_path / "own")
        before = again.estimators_[0]
        assert (again.fit(rows).estimators_[0] is before) == is_kept


def test_other_posteriors_and_images(tmp_path):
    digits = load_digits().images.astype(np.uint8)[:60]
    vae = VAE(2, network=MLP((8,)), posterior=Amortized("full"), max_epochs=2, random_state=0).fit(digits)
    detector = VAEOutlierDetector(vae, criterion="combined", random_state=0).fit(digits)
    detector.save(tmp_path / "digits")
    again = load(tmp_path / "digits")
    np.testing.assert_array_equal(again.score_samples(digits), detector.score_samples(digits))
    np.testing.assert_array_equal(again.explain(digits[:3]), detector.explain(digits[:3]))


def test_a_detector_saved_over_another_leaves_no_other_files(saved, tmp_path):
    detector, _ = saved
    VAEOutlierDetector(n_steps=2, n_estimators=1, random_state=1).fit(FRAME).save(tmp_path)
    detector.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    np.testing.assert_array_equal(load(tmp_path).training_scores_, detector.training_scores_)


def test_damage_is_named(saved, tmp_path):
    detector, _ = saved
    detector.save(tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    del record["members"][2]["n_left_out"]
    (tmp_path / "model.json").write_text(json.dumps(record))
    with pytest.raises(SavedFileError, match="damaged"):
        load(tmp_path)
