"""New names of the parameters and values in saved models and configurations of format 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARAMETERS = {"hide": "input_dropout", "mask_model": "missingness", "trim": "trim_fraction"}
VALUES = {
    ("covariance", "diag"): "diagonal",
    ("covariance", "spherical"): "isotropic",
    ("missingness", "self"): "self_masking",
}
COLUMN = {"levels": "categories"}
SCHEMA = {"n_levels": "n_categories"}


def upgraded_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an estimator by their present names and values."""
    new = {PARAMETERS.get(name, name): value for name, value in parameters.items()}
    return {k: VALUES.get((k, v), v) if isinstance(v, str) else v for k, v in new.items()}


def upgraded(record: Any) -> Any:
    """The record of a saved model, and the records in it, converted from format 1 to format 2."""
    if isinstance(record, list):
        return [upgraded(each) for each in record]
    if not isinstance(record, dict):
        return record
    new = {name: upgraded(value) for name, value in record.items() if name != "parameters"}
    if "parameters" in record:
        new["parameters"] = upgraded_parameters(record["parameters"])
    if "schema" in record:
        new["schema"] = _renamed(record["schema"], SCHEMA)
        new["schema"]["columns"] = _columns(record["schema"].get("columns"))
    if "columns" in record:
        new["columns"] = _columns(record["columns"])
    return new


def _columns(columns: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    if columns is None:
        return None
    return [{k: "category" if v == "level" else v for k, v in _renamed(column, COLUMN).items()} for column in columns]


def _renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in record.items()}
