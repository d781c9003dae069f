"""One parameter of an estimator: its allowed values, their check, and their form on a command line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any


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
    or_object : callable, optional
        True for other objects that are allowed too, which no command line can write.
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
    or_object: Callable[[Any], bool] | None = None

    def expected(self) -> str:
        """The allowed values, in words."""
        words = [repr(choice) for choice in self.choices]
        if self.number is not None:
            kind = "a whole number" if self.number is int else "a number"
            bound = f" {'>' if self.open_low else '≥'} {self.low:g}" if self.low > -math.inf else ""
            bound += f" and ≤ {self.high:g}" if self.high < math.inf else ""
            words.append(("a tuple, each " if self.many else "") + kind + bound + (" or several" * self.or_many))
        if self.any_word:
            words.append("a word")
        return " or ".join(words)

    def check(self, value: Any) -> None:
        """Raise ``ValueError`` unless ``value`` is allowed."""
        if not self.accepts(value):
            hint = suggestion(value, [c for c in self.choices if isinstance(c, str)])
            raise ValueError(f"{self.name} must be {self.expected()}, got {value!r}{hint}")

    def accepts(self, value: Any) -> bool:
        """True if ``value`` is one of the choices or an allowed number."""
        if any(type(value) is type(choice) and value == choice for choice in self.choices):
            return True
        if (self.any_word and isinstance(value, str)) or (self.or_object is not None and self.or_object(value)):
            return True
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
        for choice in self.choices:
            if word.lower() == str(choice).lower():
                return choice
        try:
            if self.many or (self.or_many and "," in word):
                parts = word.strip("()[] ").removesuffix(",").split(",") if word.strip("()[] ") else []
                value = tuple(self.number(part) for part in parts)  # type: ignore[misc]
            else:
                value = self.number(word)  # type: ignore[misc]
        except (TypeError, ValueError):
            value = word
        self.check(value)
        return value


def suggestion(word: Any, known: list[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
