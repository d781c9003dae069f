"""The rooms of the house, and who may know whom: imports point one way only, between rooms and between files."""

import ast
from pathlib import Path

import pytest

import lowerbound

ROOT = Path(lowerbound.__file__).parent
ROOMS = (  # from the ground up; those that share a floor don't know each other
    ("storage", "warning"), ("parameters", "parallel", "precision"), ("distributions",), ("core",), ("nn",),
    ("data", "inference", "models"), ("assembly", "evaluation", "pictures"), ("tasks", "training"), ("estimators",),
    ("sequences",),
    ("classification", "comparison", "compression", "diagnostics", "imputation", "outliers", "synthesis"),
    ("loading", "report"), ("web",), ("cli",), ("__main__",),
)  # fmt: skip
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def module(path: Path, root: Path = ROOT) -> str:
    """Its dotted name."""
    return ".".join(("lowerbound", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """The dotted names of what a file imports of the package, wherever in the file, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("lowerbound.")}


def files_imported(root: Path) -> dict[str, set[str]]:
    """For every file under ``root``, the files that it imports."""
    paths = {module(path, root): path for path in root.rglob("*.py") if path != root / "__init__.py"}

    def file_of(name: str) -> str:
        return name if name in paths else name.rpartition(".")[0]

    return {name: {file_of(each) for each in imported(path)} & set(paths) - {name} for name, path in paths.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The files that import themselves by way of others."""
    above: dict[str, set[str]] = {}

    def reached(name: str) -> set[str]:
        seen, waiting = set(), [name]
        while waiting:
            for other in graph[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    above = {name: reached(name) for name in graph}
    return sorted(name for name in graph if name in above[name])


def violations(path: Path, root: Path = ROOT) -> list[str]:
    """The rooms that a file must not know."""
    here = module(path, root).split(".")[1]
    there = {name.split(".")[1] for name in imported(path)} - {here}
    return sorted(room for room in there if room in FLOOR and FLOOR[room] >= FLOOR[here])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    assert violations(path) == []


def test_no_file_imports_itself_by_way_of_others():
    assert circles(files_imported(ROOT)) == []


def test_every_file_has_a_room():
    assert {module(path).split(".")[1] for path in FILES} <= set(FLOOR)


def test_estimators_are_thin_fronts():
    assert len(list((ROOT / "estimators").glob("[!_]*.py"))) <= 16


def test_the_walk_sees_wrong_imports(tmp_path):
    (tmp_path / "models").mkdir()
    wrong, other, fine = (tmp_path / "models" / name for name in ("wrong.py", "other.py", "fine.py"))
    wrong.write_text(
        "from typing import TYPE_CHECKING\nfrom lowerbound.inference import em\nimport lowerbound.training.loop\n"
        "if TYPE_CHECKING:\n    from lowerbound.models.other import Other\n"
    )
    other.write_text("def later():\n    from lowerbound.models import wrong\n")
    fine.write_text("from lowerbound.models.other import Other\n")
    assert violations(wrong, tmp_path) == ["inference", "training"]
    assert circles(files_imported(tmp_path)) == ["lowerbound.models.other", "lowerbound.models.wrong"]


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
    allowed = {"set_default_dtype"} if path.name == "precision.py" else set()  # where the program's own is put back
    assert not called & forbidden - allowed
    assert not imported & {"pickle", "joblib", "dill", "random"}
