"""Parameters of estimators: allowed values, checks, and forms on a command line and in JSON; and parts of estimators.

A parameter is a number, a word, or a part: a frozen dataclass of further parameters. A word that names a part stands
for the part with its defaults.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from lowerbound.storage.records import shown


@dataclass(frozen=True)
class Parameter:
    """One parameter of an estimator.

    Attributes
    ----------
    name : str
    default : object
    help : str
    choices : tuple
        Allowed words (or None, True, False).
    number : {None, int, float}
        Numbers of this type are allowed too.
    low, high : float
        The range of the numbers, ends included (``low`` excluded if ``open_low``).
    many : bool
        The value is a tuple of numbers.
    or_many : bool
        The value may also be a tuple of numbers.
    any_word : bool
        Any other word is allowed too.
    each : tuple of str
        The value is a tuple of some of these words.
    or_object : callable, optional
        True for other objects that are allowed too, which no command line can write.
    parts : tuple of type
        Kinds of parts that are allowed too, each with its word.
    yes : type, optional
        The kind of part that True stands for.
    """

    name: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    number: Callable | None = None
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    many: bool = False
    or_many: bool = False
    any_word: bool = False
    each: tuple[str, ...] = ()
    or_object: Callable[[Any], bool] | None = None
    parts: tuple[type[Part], ...] = ()
    yes: type[Part] | None = None

    @property
    def words(self) -> tuple[Any, ...]:
        """The allowed words, those of parts included."""
        return (*self.choices, *(kind.kind for kind in self.parts))

    @property
    def kinds(self) -> tuple[type[Part], ...]:
        """The kinds of parts that are allowed."""
        return self.parts if self.yes is None else (*self.parts, self.yes)

    def expected(self, *, written: bool = False) -> str:
        """The allowed values, in words; without parts, which nobody writes on a command line."""
        words = [repr(word) for word in self.words]
        if self.kinds and not written:
            words.append("a part such as " + f"{self.kinds[-1].__name__}()")
        if self.number is not None:
            kind = "a whole number" if self.number is int else "a number"
            bound = f" {'>' if self.open_low else '≥'} {self.low:g}" if self.low > -math.inf else ""
            bound += f" and ≤ {self.high:g}" if self.high < math.inf else ""
            words.append(("a tuple, each " if self.many else "") + kind + bound + (" or several" * self.or_many))
        if self.any_word:
            words.append("a word")
        if self.each:
            words.append(f"a tuple of {', '.join(map(repr, self.each))}")
        return " or ".join(words)

    def check(self, value: Any, *, written: bool = False) -> None:
        """Raise ``ValueError`` unless ``value`` is allowed; the message names no parts where it was ``written``."""
        if not self.accepts(value):
            hint = suggestion(value, [w for w in self.words if isinstance(w, str)])
            if isinstance(value, type):
                value, hint = value.__name__, f": a class, and an instance is needed, {value.__name__}()"
            raise ValueError(f"{self.name} must be {self.expected(written=written)}, got {shown(value)}{hint}")

    def accepts(self, value: Any) -> bool:
        """True if ``value`` is one of the words, an allowed part or an allowed number."""
        if isinstance(value, self.kinds):
            return True
        value = of_python(value)
        if any(type(value) is type(word) and value == word for word in self.words):
            return True
        if self.each:
            return isinstance(value, (tuple, list)) and len(value) > 0 and all(word in self.each for word in value)
        if (self.any_word and isinstance(value, str)) or (self.or_object is not None and self.or_object(value)):
            return True
        if self.or_many and isinstance(value, (tuple, list)) and not value:
            return False
        if self.many or (self.or_many and isinstance(value, (tuple, list))):
            return isinstance(value, (tuple, list)) and all(self._is_number(v) for v in value)
        return self._is_number(value)

    def _is_number(self, value: Any) -> bool:
        kind = Integral if self.number is int else Real
        if self.number is None or isinstance(value, bool) or not isinstance(value, kind):
            return False
        number: Any = value  # not converted to float, which loses digits of large integers
        return (
            (number > self.low if self.open_low else number >= self.low)
            and number <= self.high
            and abs(number) < math.inf
        )

    def parse(self, text: str) -> Any:
        """The value of a word on the command line; raises ``ValueError``."""
        word = text.strip()
        for choice in self.words:
            if word.lower() == str(choice).lower():
                return choice
        if self.each:
            value = tuple(part.strip() for part in word.split(",") if part.strip())
            self.check(value, written=True)
            return value
        try:
            if self.many or (self.or_many and "," in word):
                parts = word.strip("()[] ").removesuffix(",").split(",") if word.strip("()[] ") else []
                value = tuple(self.number(part) for part in parts)  # type: ignore[misc]
            else:
                value = self.number(word)  # type: ignore[misc]
        except (TypeError, ValueError):
            value = word
        self.check(value, written=True)
        return value

    def part(self, value: Any) -> Any:
        """The part that a word stands for, with its defaults; other values as they are."""
        if value is True and self.yes is not None:
            return self.yes()
        return next((kind() for kind in self.parts if isinstance(value, str) and value == kind.kind), value)

    def from_plain(self, value: Any) -> Any:
        """The value that ``plain`` wrote: a part for a record with its ``kind``, a tuple for a list.

        The kind may be left out where there is one alone.
        """
        if not (self.kinds and isinstance(value, Mapping)):
            return tuple(value) if isinstance(value, list) else value
        words = {kind.kind: kind for kind in self.kinds}
        word = value.get("kind", next(iter(words)) if len(words) == 1 else None)
        if not isinstance(word, str) or word not in words:
            known = ", ".join(map(repr, words))
            raise ValueError(
                f"{self.name} needs a kind, one of {known}, got {shown(word)}{suggestion(word, list(words))}"
            )
        return words[word].from_plain({name: v for name, v in value.items() if name != "kind"})


@dataclass(frozen=True, repr=False)
class Part:
    """A part of an estimator: a few parameters that belong together. Two parts are equal if all their fields are.

    A kind of part is a frozen dataclass whose fields are made by ``option``. Fields are checked when it is made, and
    never change: ``replaced`` gives another part.

    Attributes
    ----------
    kind : str
        Its word.
    """

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        for name, parameter in self.options().items():
            object.__setattr__(self, name, of_python(getattr(self, name)))
            try:
                parameter.check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{type(self).__name__}: {error}") from None
        self._check()

    def _check(self) -> None:
        """Raise ``ValueError`` where fields don't go together."""

    @classmethod
    @cache  # of the few kinds of parts
    def options(cls) -> dict[str, Parameter]:
        """Its fields, by name."""
        return {f.name: replace(f.metadata["parameter"], name=f.name) for f in fields(cls)}

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        values = {name: getattr(self, name) for name in self.options()}
        return {name: value for name, value in values.items() if value != self.options()[name].default}

    def replaced(self, **values: Any) -> Self:
        """The same part but for some fields; raises ``ValueError``."""
        for name in values:
            if name not in self.options():
                known = list(self.options())
                raise ValueError(f"{type(self).__name__} has no field {shown(name)}{suggestion(name, known)}")
        return replace(self, **values)

    def plain(self) -> dict[str, Any]:
        """The record of it in JSON and TOML: its ``kind``, and its fields."""
        return {"kind": self.kind, **{name: plain(getattr(self, name)) for name in self.options()}}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The part of a record without its kind; raises ``ValueError``."""
        known = cls.options()
        return cls().replaced(**{k: known[k].from_plain(v) if k in known else v for k, v in values.items()})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The fields, by name: what scikit-learn asks a part of an estimator for."""
        return {name: getattr(self, name) for name in self.options()}

    def __sklearn_clone__(self) -> Self:
        return self  # it never changes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.changed().items())})"


def option(
    default: Any, help: str, choices: tuple[Any, ...] = (), number: Callable | None = None, low: float = -math.inf,
    high: float = math.inf, **others: Any,
) -> Any:  # fmt: skip
    """A field of a part; the arguments are those of ``Parameter`` without the name, which is the field's."""
    parameter = Parameter("", default, help, choices, number, low, high, **others)
    return field(default=default, metadata={"parameter": parameter})


def of_python(value: Any) -> Any:
    """A number or a word of numpy as Python's own, and a list as a tuple."""
    if isinstance(value, (tuple, list)):
        return tuple(map(of_python, value))
    is_numpy = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    return value.item() if is_numpy and hasattr(value, "item") else value


def plain(value: Any) -> Any:
    """A parameter's value as JSON holds it; what JSON can't hold becomes None."""
    if isinstance(value, Part):
        return value.plain()
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (Integral, Real)) and not isinstance(value, (bool, int, float)):
        return value.item()  # type: ignore[attr-defined]  # of numpy
    return value if isinstance(value, (int, float, str, type(None))) else None


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number, ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be a whole number ≥ {least}, got {shown(value)}")


def suggestion(word: Any, known: list[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing."""
    close = difflib.get_close_matches(str(word)[:100], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
