"""Small fitted models, and a browser."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lowerbound import ELBO, MLP, VAE, Adam, BernoulliLikelihood, RecurrentVAE, Sequences, SequenceVAE, read
from lowerbound.report.subject import Run, Subject
from lowerbound.report.subjects import report_facts, subject_of

AXE = Path(__file__).parents[1] / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
HISTORY = [
    {"epoch": k, "step": 10 * k, "elbo": -30.0 + k, "reconstruction": -27.0 + k, "kl": 3.0, "validation_elbo": None}
    for k in range(1, 5)
]


@pytest.fixture(scope="session")
def digits():
    return read("digits")


@pytest.fixture(scope="session")
def image_model(digits):
    likelihood, quick = BernoulliLikelihood("sample"), {"optimizer": Adam(1e-2), "max_epochs": 4, "random_state": 0}
    return VAE(3, network=MLP((16,)), likelihood=likelihood, **quick).fit(digits.X[:300])


@pytest.fixture(scope="session")
def people():
    """A table of numbers, whole numbers and words, with gaps."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(120)
    frame = pd.DataFrame({
        "height": 170 + 10 * z + rng.standard_normal(120), "age": rng.integers(20, 80, 120),
        "town": np.where(z > 0, "Rome </script><b>", "Oslo"),
    })  # fmt: skip
    frame.loc[3, "height"] = np.nan
    return frame


@pytest.fixture(scope="session")
def table_model(people):
    return VAE(2, network=MLP((8,)), optimizer=Adam(1e-2), max_epochs=8, random_state=0).fit(people)


@pytest.fixture(scope="session")
def image_subject(image_model, digits):
    run = Run("a run", HISTORY, 'model = "vae"', "lowerbound train digits", {"torch": "2"})
    return Subject.of(image_model, digits.X[:200], digits.labels[:200], label="digit", source="digits", run=run)


@pytest.fixture(scope="session")
def table_subject(table_model, people):
    return Subject.of(table_model, people, source="people.csv")


QUICK = {"hidden_size": 8, "optimizer": Adam(2e-2), "random_state": 0}


@pytest.fixture(scope="session")
def text_subject():
    rng = np.random.default_rng(0)
    first, last = ["anna", "bela", "carl", "dora"], ["adams", "baker", "clark"]
    names = [f"{rng.choice(first)} {rng.choice(last)}" for _ in range(80)]
    return subject_of(SequenceVAE(2, max_epochs=15, **QUICK).fit(names), names, source="names.txt")


@pytest.fixture(scope="session")
def songs():
    rng = np.random.default_rng(0)
    return [rng.integers(2, size=(length, 1)).repeat(3, 1) for length in rng.integers(8, 16, 40)]


@pytest.fixture(scope="session")
def song_subject(songs):
    model = RecurrentVAE(2, objective=ELBO(free_bits=0.5), max_epochs=15, **QUICK).fit(songs)
    return subject_of(model, songs, source="songs.npz", run=Run("songs", HISTORY))


@pytest.fixture(scope="session")
def series_subject():
    """One long series of a number and a state, with a gap."""
    rng = np.random.default_rng(0)
    state = np.cumsum(rng.random(250) < 0.1) % 2
    level = 3 * state + rng.normal(size=250) / 4
    level[20:23] = np.nan
    frame = pd.DataFrame({"id": "a", "level": level, "state": np.where(state, "on", "off")})
    series = Sequences.from_frame(frame, id="id")
    return subject_of(RecurrentVAE(2, window=40, max_epochs=8, **QUICK).fit(series), series, source="series.csv")


@pytest.fixture(scope="session")
def of_texts(text_subject):
    """All that a report has of texts."""
    return report_facts(text_subject, n_importance=5)


@pytest.fixture(scope="session")
def of_songs(song_subject):
    return report_facts(song_subject, n_importance=5)


@pytest.fixture(scope="session")
def of_series(series_subject):
    return report_facts(series_subject, n_importance=5)


@pytest.fixture(scope="module")  # its loop is in the way of asyncio.run
def browser():
    """A headless Chromium; tests that need it are left out where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt install chromium")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
