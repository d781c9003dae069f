"""Records of JSON that describe a dataclass, checked against the types of its fields."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

types_of = cache(get_type_hints)


def conforming(
    kind: type, record: Any, what: str, *, partly: bool = False, finite: bool = True
) -> dict[str, Any]:  # fmt: skip
    """The fields of a dataclass, lists as tuples where these are meant.

    Parameters
    ----------
    kind : type
        The dataclass.
    record : mapping
        Its fields by name; those with a default may be missing.
    what : str
        What the record describes, in messages.
    partly : bool
        All fields may be missing.
    finite : bool
        Numbers must be finite.

    Raises
    ------
    ValueError
        If the record is no mapping, or a field is unknown, missing or of another type.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{what} must be a record of fields, got {shown(record)}")
    known = {each.name: each for each in fields(kind)}
    unknown = [name for name in record if name not in known]
    if unknown:
        raise ValueError(f"{what} has no {shown(unknown[0])}: it has {', '.join(sorted(known))}")
    missing = [n for n, each in known.items() if n not in record and each.default is each.default_factory is MISSING]
    if missing and not partly:
        raise ValueError(f"{what} lacks {missing[0]!r}")
    hints = types_of(kind)
    for name, value in record.items():
        if not is_of(value, hints[name], finite=finite):
            raise ValueError(f"{what} has {name}={shown(value)}, which must be {known[name].type}")
    return {k: tuple(v) if isinstance(v, list) and _is_tuple(hints[k]) else v for k, v in record.items()}


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def is_of(value: Any, hint: Any, *, finite: bool = True) -> bool:
    """True if a value has the type of an annotation; numbers of numpy count as Python's, and lists as tuples."""
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_of(value, each, finite=finite) for each in get_args(hint))
    if _is_tuple(hint) or get_origin(hint) is list:
        each = get_args(hint)[0]
        return isinstance(value, (tuple, list)) and all(is_of(v, each, finite=finite) for v in value)
    if hint in (int, float):
        wanted = Integral if hint is int else Real
        return isinstance(value, wanted) and not isinstance(value, bool) and (_is_finite(value) or not finite)
    return isinstance(value, get_origin(hint) or hint)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(get_origin(each) is tuple for each in get_args(hint))
