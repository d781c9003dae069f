"""Warnings that name the line of the user's program, however deep in the package they are given."""

from __future__ import annotations

import sys
import warnings

PASSED = {"lowerbound", "contextlib", "sklearn", "joblib", "torch"}  # packages whose lines say nothing to the user


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn of the nearest line outside the package, and outside the libraries that call it.

    Parameters
    ----------
    message : str or Warning
    category : type of Warning
        Of a message that is a str.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
