"""Words in a picture, moved so that none covers another."""

from __future__ import annotations

import numpy as np

STEPS = 500  # at most


def apart(centers: np.ndarray, sizes: np.ndarray, movable: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Centers of boxes, pushed apart where they overlap, along the axis where less is needed.

    Parameters
    ----------
    centers, sizes : ndarray, shape (n, 2)
    movable : ndarray of bool, shape (n,)
        The others stay where they are.
    frame : ndarray, shape (2, 2)
        The lowest and the highest corner of the picture, in which movable boxes stay.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    centers, share = centers.astype(np.float64).copy(), movable.astype(np.float64)
    low, high = frame[0] + sizes / 2, frame[1] - sizes / 2
    for _ in range(STEPS):
        away = centers[:, None] - centers[None]
        overlap = (sizes[:, None] + sizes[None]) / 2 - np.abs(away)
        meets = (overlap > 1e-9).all(-1) & ~np.eye(len(centers), dtype=bool)
        meets &= movable[:, None]
        if not meets.any():
            break
        axis = overlap.argmin(-1)
        order = np.sign(np.arange(len(centers))[:, None] - np.arange(len(centers))[None])
        chosen = np.take_along_axis(away, axis[..., None], -1)[..., 0]
        toward = np.where(chosen == 0, order, np.sign(chosen))
        part = share[:, None] / np.maximum(share[:, None] + share[None], 1)  # half of the way, or all of it
        push = np.where(meets, toward * part * (np.take_along_axis(overlap, axis[..., None], -1)[..., 0] + 1e-6), 0)
        for k in (0, 1):
            centers[:, k] += np.where(axis == k, push, 0).sum(1)
        centers = np.where(movable[:, None], np.clip(centers, low, high), centers)
    return centers
