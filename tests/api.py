"""The public interface in lines of text: ``python -m tests.api`` writes it to ``tests/api.txt``."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

import lowerbound
from lowerbound.cli import main

SNAPSHOT = Path(__file__).with_name("api.txt")


def interface() -> str:
    """Every public name with its signature, and every command with its options, a line each."""
    names = (line for name in lowerbound.__all__ for line in described(name, getattr(lowerbound, name)))
    return "\n".join([*names, *commands(main, "lowerbound")]) + "\n"


def described(name: str, thing: object) -> Iterator[str]:
    """A function in a line; a class or a module with what is in it."""
    if inspect.ismodule(thing):
        yield name
        for own, value in sorted(vars(thing).items()):
            if not own.startswith("_") and getattr(value, "__module__", None) == thing.__name__:
                yield from described(f"{name}.{own}", value)
    elif inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__mro__[1:-1] if issubclass(base, Exception))
        yield f"{name}{signature(thing) if not bases else f' is {bases}'}"
        for own in sorted(dir(thing)):
            yield from member(f"{name}.{own}", thing, own)
    else:
        yield f"{name}{signature(thing)}"


def member(name: str, owner: type, own: str) -> Iterator[str]:
    """A method or a property that the package defines; what comes from other libraries is theirs to change."""
    value = inspect.getattr_static(owner, own)
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if own.startswith("_") or not getattr(function, "__module__", "").startswith("lowerbound"):
        return
    if isinstance(value, property):
        yield f"{name}: property"
    elif inspect.isfunction(function):
        yield f"{name}{signature(function)}"


def signature(function: object) -> str:
    """Its parameters with annotations and defaults, functions among them by name."""
    found = inspect.signature(function)
    parameters = [
        each.replace(annotation=_plain(each.annotation), default=_plain(each.default, strings=False))
        for each in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=_plain(found.return_annotation)))


def _plain(value: object, strings: bool = True) -> object:
    """What prints without quotes (an annotation) or without an address (a function)."""
    if inspect.isfunction(value):
        return _Text(value.__name__)
    return _Text(value) if strings and isinstance(value, str) else value


class _Text(str):
    """Prints as it is."""

    __repr__ = str.__str__


def commands(command: click.Command, words: str) -> Iterator[str]:
    """Each command with its arguments and options, in order of the alphabet."""
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            yield from commands(each, f"{words} {name}")
        return
    options = sorted("/".join((*each.opts, *each.secondary_opts)) for each in command.params)
    yield f"{words} {' '.join(options)}"


if __name__ == "__main__":
    SNAPSHOT.write_text(interface(), encoding="utf-8")
