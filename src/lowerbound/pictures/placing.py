"""Words in a picture, moved so that none covers another."""

from __future__ import annotations

import numpy as np

STEP, FARTHEST = 3, 100  # units between the places that are tried, and their number on each side


def apart(centers: np.ndarray, sizes: np.ndarray, movable: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Centers of boxes, one after another moved to the nearest place where they cover none before them.

    Parameters
    ----------
    centers, sizes : ndarray, shape (n, 2)
    movable : ndarray of bool, shape (n,)
        The others stay where they are, and come first.
    frame : ndarray, shape (2, 2)
        The lowest and the highest corner of the picture, in which movable boxes stay.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    centers = centers.astype(np.float64)
    steps = STEP * np.stack(np.meshgrid(*[np.arange(-FARTHEST, FARTHEST + 1)] * 2), -1).reshape(-1, 2)
    steps = steps[np.hypot(*steps.T).argsort(kind="stable")]
    placed = np.flatnonzero(~movable).tolist()
    for i in np.flatnonzero(movable).tolist():
        places = centers[i] + steps
        free = ((places >= frame[0] + sizes[i] / 2) & (places <= frame[1] - sizes[i] / 2)).all(1)
        for j in placed:
            free &= (np.abs(places - centers[j]) >= (sizes[i] + sizes[j]) / 2).any(1)
        centers[i] = places[free.argmax()]  # where it was if no place is free
        placed.append(i)
    return centers
