"""What older versions saved keeps loading, and gives the numbers that it gave."""

import json
from pathlib import Path

import numpy as np
import pytest

from lowerbound import load
from lowerbound.parameters.upgrade import upgraded
from lowerbound.storage.atomic import FORMAT_VERSION
from tests.saved_models import NUMBERS

FOLDERS = sorted((Path(__file__).parent / "fixtures").glob("saved-v*"))


def test_every_format_has_a_fixture():
    assert [folder.name for folder in FOLDERS] == [f"saved-v{version}" for version in range(1, FORMAT_VERSION + 1)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_models_saved_by_older_versions_keep_loading(folder, name):
    expected = json.loads((folder / "expected.json").read_text())[name]
    np.testing.assert_allclose(NUMBERS[name](load(folder / name)), expected, atol=1e-5)


def test_only_the_kind_of_a_column_is_renamed():
    """A user's column may be called "level", as a kind was."""
    column = {"name": "level", "kind": "categorical", "levels": ["a", "b"]}
    assert upgraded({"columns": [column]})["columns"] == [
        {"name": "level", "kind": "categorical", "categories": ["a", "b"]}
    ]
    assert upgraded({"columns": [{"name": "c", "kind": "level"}]})["columns"] == [{"name": "c", "kind": "category"}]
