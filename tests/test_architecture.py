"""The rooms of the house, and who may know whom: imports point one way only."""

import ast
from pathlib import Path

import pytest

import lowerbound

ROOT = Path(lowerbound.__file__).parent
LEVEL = {
    "parallel": -1, "precision": -1, "distributions": 0, "mixed": 0.5, "core": 1, "data": 2,
    "nn": 2, "models": 2, "inference": 2,
    "evaluate": 3, "steady": 3, "ledger": 3, "settings": 3, "steps": 3, "evidence": 4,
    "accounting": 4, "train": 4, "checkpoints": 5,
    "tasks": 5, "estimators": 6, "diagnostics": 7, "cli": 8, "web": 8, "__main__": 9,
}  # fmt: skip
ALLOWED_WITHIN_A_LEVEL = {("models", "nn")}
FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        rooms |= {name.split(".")[1] for name in names if name.startswith("lowerbound.")}
    return rooms


def violations(path: Path) -> list[str]:
    here = room(path)
    return [
        there
        for there in imported_rooms(path)
        if there != here and LEVEL[there] >= LEVEL[here] and (here, there) not in ALLOWED_WITHIN_A_LEVEL
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    assert violations(path) == []


def test_the_walk_sees_a_wrong_import(tmp_path, monkeypatch):
    monkeypatch.setattr(__name__ + ".ROOT", tmp_path)
    (tmp_path / "models").mkdir()
    wrong = tmp_path / "models" / "wrong.py"
    wrong.write_text("from lowerbound.inference import objectives\nimport lowerbound.train\n")
    assert sorted(violations(wrong)) == ["inference", "train"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_global_is_set_and_nothing_is_pickled(path):
    forbidden = {
        "manual_seed",
        "set_default_dtype",
        "set_num_threads",
        "set_default_device",
        "use_deterministic_algorithms",
    }
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
    }
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not called & forbidden
    assert not imported & {"pickle", "joblib", "dill", "random"}
