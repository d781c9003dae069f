"""The context of rows on the command line: a column of the data that a model is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.output import Failure

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.data.columns.schema import ColumnSchema
    from lowerbound.data.context import ContextSchema
    from lowerbound.data.sources import Dataset


def _one(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> str | None:
    """The one name, if any."""
    if len(names) > 1:
        raise click.BadParameter("one column can be given; several can in Python: fit(X, context=frame)", ctx, param)
    return names[0] if names else None


given_option: Callable[..., Any] = click.option(
    "--given", metavar="NAME", multiple=True, callback=_one,
    help="Column, or array of an .npz, that is known of each row beforehand: the model is that of the rest given it.",
)  # fmt: skip


def context_of(dataset: Dataset, name: str | None) -> Any:
    """The context of the rows of a dataset that was read with it as the label, or of its texts; None without one."""
    import pandas as pd

    if dataset.context is not None:
        return dataset.context
    return None if name is None else pd.Series(dataset.labels, name=name)


def fingerprint_of(context: Any) -> dict[str, Any]:
    """The record of a context beside that of the rows: its name and a hash of its values; empty without one."""
    import hashlib

    from pandas.util import hash_pandas_object

    if context is None or isinstance(context, list):  # text is in the fingerprint of what it is the context of
        return {}
    values = hash_pandas_object(context, index=False).to_numpy()  # pyright: ignore[reportCallIssue]
    return {"given": {"name": str(context.name), "sha256": hashlib.sha256(values.tobytes()).hexdigest()}}


def given_of(model: Any, dataset: Dataset, name: str | None) -> Any:
    """The model given the context of some rows; fails if one is missing, or there is one that it isn't given."""
    schema = context_schema(model)
    if schema is None:
        if name is not None:
            raise Failure(f"--given {name}: the model was trained without a context, so leave it out")
        return model
    if name is None:
        raise Failure(f"the model is given {', '.join(schema.names)}: say which column or array has it, --given NAME")
    return model.given(dataset.labels)


def words_given(name: str | None, value: str = "") -> tuple[str, ...]:
    """The option as words of a command line; none without a name."""
    return () if name is None else ("--given", f"{name}{value}")


def context_schema(model: Any) -> ContextSchema | None:
    """The columns of what a model, or the first model of a detector, is given; None where it isn't given any."""
    return getattr(getattr(model, "estimators_", [model])[0], "context_", None)


def one_context(columns: Sequence[ColumnSchema], words: Sequence[str]) -> pd.DataFrame:
    """A row of context from words ``NAME=VALUE``."""
    import pandas as pd

    known = {column.name: column for column in columns}
    row: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name in row:
            raise Failure(f"--given {name} is there twice: say one value")
        if not equals or name not in known:
            raise Failure(f"--given {word}: the model is given {', '.join(known)}, so write --given NAME=VALUE")
        row[name] = value_of(known[name], name, value)
    lacking = [name for name in known if name not in row]
    if lacking:
        raise Failure(f"the model is given {', '.join(known)}: add --given {lacking[0]}=VALUE")
    return pd.DataFrame([row])


def column_and_word(assigned: str, owner: str, names: Sequence[Any]) -> tuple[str, str]:
    """The two parts of ``COLUMN=VALUE``; fails if ``owner`` has no such column among its ``names``."""
    from lowerbound.data.checks import listed

    name, equals, word = assigned.partition("=")
    if not equals:
        raise click.UsageError(f"--given is COLUMN=VALUE, got {assigned!r}")
    if name not in names:
        raise Failure(f"{owner} has no column {name!r}: its columns are {listed(names)}")
    return name, word


def value_of(column: ColumnSchema | None, name: str, word: str) -> Any:
    """The value of a column in a word: one of its categories, or a number."""
    from lowerbound.data.checks import listed

    try:
        number = float(word)
    except ValueError:
        number = float("nan")
    if column is not None and column.has_categories:
        for category in column.categories:
            if word == str(category) or number == category:
                return category
        raise Failure(f"--given {name}={word}: the column has the categories {listed(column.categories, _category)}")
    if number != number:
        raise Failure(f"--given {name}={word}: the column needs a number")
    return number


def _category(category: Any) -> str:
    """A category as in the data: 40, not 40.0."""
    return f"{category:.15g}" if isinstance(category, float) else str(category)
