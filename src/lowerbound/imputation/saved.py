"""Saving and restoring an imputer: the code of its table, and the models of its stack."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import clone
from sklearn.impute import MissingIndicator
from torch import Tensor

from lowerbound.data.columns.values import as_categories, measure_of
from lowerbound.data.filling import gaps_as_nan
from lowerbound.data.normal_scores import NormalScores
from lowerbound.data.table_code import KINDS, Column, Raw, TableCode
from lowerbound.estimators.saving import (
    Restore,
    Saved,
    contents,
    output_of,
    parameters_of,
    part,
    parts,
    plain,
    set_fitted,
)  # fmt: skip
from lowerbound.imputation.fillers import Marginal, OfValues, WithErrors
from lowerbound.imputation.gaussians import CategoryFiller, ExactFiller, FewValues, Filler
from lowerbound.imputation.network import EstimatorFiller
from lowerbound.imputation.stacking import Stack
from lowerbound.models.gaussian import MixtureOfGaussians
from lowerbound.models.location import LocationModel
from lowerbound.models.ppca import LinearGaussian
from lowerbound.storage.allowance import Allowance
from lowerbound.storage.atomic import save_folder
from lowerbound.storage.records import conforming, is_of

MOST_COLUMNS = 2**24
FITTED = ("report_", "seed_", "n_features_in_")


def save(imputer: Any, folder: Path) -> None:
    """Write ``model.json`` and one file with the tensors of all fillers."""
    given = imputer.estimator is not None
    tensors = {} if given else {"weights": torch.from_numpy(np.ascontiguousarray(imputer._filler.weights))}
    descriptions = []
    for i, filler in enumerate([imputer._filler] if given else imputer._filler.fillers):
        weights, description = _described(filler)
        tensors |= {f"fillers.{i}.{k}": v for k, v in weights.items()}
        descriptions.append(description)
    names, marked = getattr(imputer, "feature_names_in_", None), imputer.indicator_
    description = {
        "class": type(imputer).__name__,
        "parameters": {k: plain(v) for k, v in imputer.get_params(deep=False).items() if k != "estimator"},
        "estimator": ("fitted" if imputer._filler.estimator is imputer.estimator else "template") if given else None,
        "fitted": {name: getattr(imputer, name) for name in FITTED},
        "feature_names": None if names is None else list(map(str, names)),
        "row_shape": imputer.row_shape_,
        "output": output_of(imputer),
        "n_rows": imputer._n_rows,
        "kept": imputer._kept.tolist(),
        "marked": None if marked is None else marked.features_.tolist(),
        "columns": [_column(column) for column in imputer._code.columns],
        "fillers": descriptions,
    }
    save_folder(folder, tensors, description)


def restored(kind: Any, saved: Saved, restore: Restore) -> Any:
    """The imputer that ``save`` wrote."""
    tensors, record = saved
    imputer = kind(**parameters_of(kind, record["parameters"]))
    set_fitted(imputer, record, FITTED)
    _check_places(record)
    imputer.row_shape_, imputer._kept = tuple(record["row_shape"]), np.asarray(record["kept"], int)
    imputer._rows, imputer._n_rows = None, record.get("n_rows")  # not in older files
    imputer._code = TableCode.of(_as_columns(record["columns"]))
    imputer.indicator_ = _indicator(record["marked"], record["fitted"]["n_features_in_"])
    own = parts(tensors, "fillers.")
    fillers = [
        _filler(Saved(own[str(i)], description), imputer._code, restore)
        for i, description in enumerate(record["fillers"])
    ]
    if record["estimator"] is None:
        weights = tensors["weights"].numpy()
        if weights.shape not in {(len(fillers), n) for n in (1, imputer._code.width)}:
            raise ValueError("the weights of the stack don't fit its models")
        imputer._filler = Stack(fillers, weights, imputer._code.raw, imputer._code.scale)
    else:
        [imputer._filler] = fillers
        fitted: Any = cast(EstimatorFiller, imputer._filler).estimator
        imputer.estimator = fitted if record["estimator"] == "fitted" else clone(fitted)
    return imputer


def _check_places(record: dict[str, Any]) -> None:
    """Raise ``ValueError`` unless the columns that are kept and those that are marked are among the columns."""
    n, of_int = record["fitted"]["n_features_in_"], list[int]
    kept, marked = record["kept"], record["marked"]
    if not all(is_of(record[name], of_int) for name in ("row_shape", "kept")) or not is_of(marked, of_int | None):
        raise ValueError("row_shape, kept and marked must be whole numbers")
    n_columns = math.prod(record["row_shape"]) if record["row_shape"] else n
    are_places = all(0 <= place < n_columns for place in (*kept, *(marked or ())))
    if not are_places or len(record["columns"]) != len(kept) or n > MOST_COLUMNS:
        raise ValueError(f"of {n_columns} columns, {len(kept)} can't be kept and {len(record['columns'])} described")
    if not is_of(record.get("n_rows"), int | None):
        raise ValueError(f"n_rows can't be {record['n_rows']!r}")


def _described(filler: Filler | EstimatorFiller) -> Saved:
    """The tensors of a filler, and its JSON record."""
    if isinstance(filler, OfValues):
        weights, description = _described(filler.filler)
        return Saved(weights, description | {"of_values": True})
    if isinstance(filler, WithErrors):
        weights, description = _described(filler.filler)
        return Saved(weights | {"errors": torch.from_numpy(filler.variance)}, description)
    if isinstance(filler, Marginal):
        tensors = {name: torch.from_numpy(values) for name, values in vars(filler).items()}
        return Saved(tensors, {"model": "Marginal"})
    if isinstance(filler, EstimatorFiller):
        weights, description = contents(filler.estimator)
        return Saved(
            weights, {"estimator": description, "n_importance": filler.n_importance, "most_steps": filler.most_steps}
        )
    if isinstance(filler, CategoryFiller):
        weights, description = _described(filler.filler)
        few = {f"few.{name}": torch.from_numpy(values) for name, values in vars(filler.few).items()}
        return Saved(weights | few, description)
    assert isinstance(filler, ExactFiller)
    model = filler.model
    weights = model.state_dict()
    if isinstance(model, LinearGaussian):
        return Saved(weights, {"model": "LinearGaussian"})
    numbers = _numbers_of(model)
    weights |= {"average": numbers.average}  # towards which other fits shrink the covariances
    return Saved(weights, {"model": type(model).__name__, "shrinkage": numbers.shrinkage})


def _numbers_of(model: MixtureOfGaussians | LocationModel) -> MixtureOfGaussians:
    return model.numbers if isinstance(model, LocationModel) else model


def _filler(saved: Saved, code: TableCode, restore: Restore) -> Any:
    """The inverse of ``_described``."""
    tensors, record = saved
    if record.get("of_values"):
        return OfValues(_filler(Saved(tensors, record | {"of_values": False}), code, restore), code.scale)
    if "errors" in tensors:
        rest = {name: values for name, values in tensors.items() if name != "errors"}
        return WithErrors(_filler(Saved(rest, record), code, restore), tensors["errors"].numpy())
    if record.get("model") == "Marginal":
        return Marginal(**{name: values.numpy() for name, values in tensors.items()})
    if "estimator" in record:
        estimator = restore(Saved(tensors, record["estimator"]))
        return EstimatorFiller(estimator, record["n_importance"], record.get("most_steps"))
    few = {name: values.numpy() for name, values in part(tensors, "few.").items()}
    weights = {name: values for name, values in tensors.items() if not name.startswith("few.")}
    filler = _exact(weights, record, code.raw)
    return CategoryFiller(FewValues(**few), filler) if few else filler


def _exact(weights: dict[str, Tensor], record: dict, raw: Raw) -> ExactFiller:
    with Allowance(weights):
        return _built(weights, record, raw)


def _built(weights: dict[str, Tensor], record: dict, raw: Raw) -> ExactFiller:
    code = None
    if record["model"] == "LinearGaussian":
        P, D = weights["weights"].shape
        linear = LinearGaussian((P,), D, "feature").requires_grad_(False)
        linear.load_state_dict(weights)
        return ExactFiller(linear)
    if not is_of(record["shrinkage"], float) or record["shrinkage"] < 0:
        raise ValueError(f"shrinkage can't be {record['shrinkage']!r}")
    average = weights.pop("average", None)
    if record["model"] == "LocationModel":
        code, frequencies = raw, torch.from_numpy(np.where(raw.blocks < 0, 1.0, raw.mean))
        model = LocationModel(len(weights["log_theta"]), torch.from_numpy(raw.blocks), frequencies, record["shrinkage"])
    else:
        K, P = weights["means"].shape
        model = MixtureOfGaussians(K, (P,), shrinkage=record["shrinkage"])
    model.load_state_dict(weights)
    numbers = _numbers_of(model)
    if average is None and numbers.n_components > 1:  # an older file
        average = numbers.covariances.mean(0)
    if average is not None:
        numbers.average.copy_(average)
    return ExactFiller(model, code)


def _column(column: Column) -> dict[str, Any]:
    """The JSON record of a column."""
    as_text = column.dtype.startswith("category[")
    categories = [str(category) if as_text else _plain(category) for category in column.categories]
    strange = [category for category in categories if not isinstance(category, (str, bool, int, float))]
    if strange:
        kind = type(strange[0]).__name__
        raise ValueError(
            f"a column has the category {strange[0]!r}, a {kind}, which JSON can't hold: convert the column to text"
        )
    record = {field.name: getattr(column, field.name) for field in fields(column)}
    arrays = {name: value.tolist() for name, value in record.items() if isinstance(value, np.ndarray)}
    scores = column.scores and {"reach": column.scores.reach, "quantiles": column.scores.quantiles.tolist()}
    return record | arrays | {"categories": categories, "places": column.places.start, "scores": scores}


def _plain(category: Any) -> Any:
    """A number of numpy as one of Python; anything else unchanged."""
    return category.item() if isinstance(category, np.generic) else category


def _as_columns(records: list[dict[str, Any]]) -> list[Column]:
    """The inverse of ``_column``, of all columns; their places follow one another."""
    columns, first = [], 0
    for record in records:
        columns.append(_as_column(record, first))
        first = columns[-1].places.stop
    return columns


def _as_column(record: dict[str, Any], first: int) -> Column:
    known: dict[str, Any] = {name: np.asarray(record[name], np.float64) for name in ("mean", "spread", "importance")}
    width, spread = len(known["mean"]), known["spread"]
    if record["places"] != first or {values.shape for values in known.values()} != {(width,)} or not (spread > 0).all():
        raise ValueError("a column of the table has places or statistics that don't fit")
    if record["dtype"].startswith("category["):
        known["categories"] = list(as_categories(record["categories"], record["dtype"]))
    scores = record.get("scores")  # not in older files
    known["scores"] = scores and NormalScores(float(scores["reach"]), np.asarray(scores["quantiles"], np.float64))
    column = Column(**conforming(Column, {**record, **known, "places": slice(first, first + width)}, "a column"))
    n = len(column.categories) if column.kind == "category" else 1
    if column.kind not in KINDS or width not in (n, n + (column.kind == "category")):
        raise ValueError(f"a column of kind {column.kind!r} has {width} places and {n} categories")
    measure_of(column.dtype)
    return column


def _indicator(marked: list[int] | None, n_columns: int) -> MissingIndicator | None:
    """A ``MissingIndicator`` of these columns."""
    if marked is None:
        return None
    return MissingIndicator(error_on_new=False).fit(gaps_as_nan(np.isin(np.arange(n_columns), marked)[None]))
