"""Every example of a docstring runs and gives what it promises."""

import doctest
import importlib
from pathlib import Path

import pytest

import lowerbound

ROOT = Path(lowerbound.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples(path):
    name = ".".join(("lowerbound", *path.relative_to(ROOT).with_suffix("").parts))
    found = doctest.testmod(importlib.import_module(name), report=True)
    assert found.attempted
    assert not found.failed, f"{name}: {found.failed} of {found.attempted} examples give something else (see above)"
