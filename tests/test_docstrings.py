"""Docstrings: every example runs and gives the output shown, and first lines name the thing they describe."""

import ast
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


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_say_what_a_thing_is(path):
    """'The held-out rows', not 'Which rows are held out'."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, places)]
    first = [(ast.get_docstring(node) or "").split(" ")[0] for node in nodes]
    refused = {"What", "How", "Where", "Which", "Whether", "Who", "Of", "That", "Those", "As"}
    assert not refused & set(first)
