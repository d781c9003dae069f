"""What users may rely on: public names and signatures, their types, and what their docstrings say of parameters."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lowerbound
from tests.api import SNAPSHOT, interface

SOURCE = Path(lowerbound.__file__).parents[1]
LEAST_TYPED = 0.95  # of what `pyright --verifytypes` counts: every name without an underscore in every module
LEAST_TYPED_PUBLIC = 0.95  # of the names of `lowerbound` itself and of their members
MOST_UNDOCUMENTED = 0  # public functions of two and more arguments whose Parameters section lacks one


def test_the_interface_is_as_it_was():
    assert interface() == SNAPSHOT.read_text(encoding="utf-8"), (
        "public names or signatures have changed; if that is meant, run `python -m tests.api` "
        "and say so in CHANGELOG.md"
    )


def test_every_public_name_is_there():
    assert set(lowerbound.__all__) == {*lowerbound._HOMES, "diagnostics"}
    for name in lowerbound.__all__:
        assert getattr(lowerbound, name) is not None


@pytest.fixture(scope="module")
def typed():
    """What pyright knows of every symbol: those of the package that other programs may use."""
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--verifytypes", "lowerbound"]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))  # else torch isn't found
    environment = {"PYTHONPATH": str(SOURCE), "VIRTUAL_ENV": sys.prefix, "PATH": path}
    ran = subprocess.run(
        [*command, "--ignoreexternal", "--outputjson"], env={**os.environ, **environment},
        cwd=SOURCE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    symbols = json.loads(ran.stdout)["typeCompleteness"]["symbols"]
    return {each["name"]: each["isTypeKnown"] for each in symbols if each["isExported"]}


def test_types_are_declared(typed):
    assert sum(typed.values()) / len(typed) >= LEAST_TYPED


def test_types_of_public_names_are_declared(typed):
    homes = {f"lowerbound.{home}.{name}" for name, home in lowerbound._HOMES.items()} | {"lowerbound.diagnostics"}
    public = {name: known for name, known in typed.items() if any(f"{name}.".startswith(f"{h}.") for h in homes)}
    untyped = sorted(name for name, known in public.items() if not known)
    assert 1 - len(untyped) / len(public) >= LEAST_TYPED_PUBLIC, untyped


def functions(owner: object):
    """The public functions and methods of a class or a module that the package defines."""
    home = owner.__name__ if inspect.ismodule(owner) else "lowerbound"
    for name, value in inspect.getmembers(owner):
        if not name.startswith("_") and inspect.isfunction(value) and value.__module__.startswith(home):
            yield value


def is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Exception)


def n_arguments(function: object) -> int:
    return len(set(inspect.signature(function).parameters) - {"self"})


def test_parameters_are_documented():
    validate = pytest.importorskip("numpydoc.validate").validate
    things = [getattr(lowerbound, name) for name in lowerbound.__all__]
    found = {each for thing in things for each in functions(thing)}
    found |= {thing for thing in things if not inspect.ismodule(thing) and not is_error(thing)}
    names = {f"{each.__module__}.{each.__qualname__}" for each in found if n_arguments(each) >= 2}
    wrong = {"PR01", "PR02", "PR03"}  # not documented, not there, in another order
    lacking = [name for name in sorted(names) if wrong & {code for code, _ in validate(name)["errors"]}]
    assert len(lacking) <= MOST_UNDOCUMENTED, lacking
