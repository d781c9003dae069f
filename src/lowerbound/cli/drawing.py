"""Pictures of rows and maps of codes that commands write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import Failure

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sources import Dataset

SHOWN_IN_A_LINE = 10
PAIR = ("input", "reconstruction")


def check_rows_fit(model: Any, path: Path) -> None:
    """Fail before any work if rows can't be written to such a file."""
    import numpy as np

    from lowerbound.pictures.pictures import as_images

    ending, schema = path.suffix.lower(), model.schema_
    if ending == ".png":
        as_images(schema, np.zeros((1, *schema.row_shape)))
    if ending in (".csv", ".parquet") and len(schema.row_shape) > 1:
        raise Failure(f"{path}: images don't go into a table: give a name that ends in .png or .npy")


def draw(
    path: Path, model: Any, rows: np.ndarray, columns: int | None = None, captions: Sequence[str] = (),
    headings: Sequence[str] = (), ends: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write a picture of rows, between the first and the last of ``ends`` if these are given."""
    from lowerbound.pictures.pictures import save_grid

    pixels, others = _pixels(model, rows, ends)
    if others is not None:
        import numpy as np

        pixels = np.concatenate([others[:1], pixels, others[1:]])
    save_grid(pixels, path, columns, captions=captions, headings=headings)


def draw_pairs(path: Path, model: Any, rows: np.ndarray, original: np.ndarray) -> None:
    """Write a picture of rows below the originals."""
    from lowerbound.pictures.pictures import above_one_another, save_grid

    lower, upper = _pixels(model, rows, original)
    columns = min(len(lower), SHOWN_IN_A_LINE)
    save_grid(above_one_another(upper, lower, columns), path, columns, group=2, captions=PAIR)


def _pixels(model: Any, rows: np.ndarray, original: np.ndarray | None) -> tuple[np.ndarray, Any]:
    """Rows of a model, and rows of data if there are any, as pixels on one scale."""
    import numpy as np

    from lowerbound.pictures.pictures import as_images, pixel_range, to_pixels

    schema = model.schema_
    images = as_images(schema, rows)
    if original is None:
        return to_pixels(images, *pixel_range(schema, images)), None
    seen = as_images(schema, np.asarray(original))
    low, high = pixel_range(schema, images, seen)
    grey = schema.grey_levels if schema.binarize else high  # grey values stand above probabilities
    return to_pixels(images, low, high), to_pixels(seen, low, grey)


def write_map(path: Path, model: Any, X: np.ndarray, codes: np.ndarray, dataset: Dataset, label: str) -> None:
    """Write a map of two latent variables, those with the largest KL."""
    from lowerbound.pictures.pictures import latent_map, save_map

    if model.latent_dim_ < 2:
        raise Failure("a map needs two latent variables and the model has one: give a name that ends in .csv or .npy")
    shown, notes = [0, 1], ["", ""]
    if hasattr(model, "elbo_terms"):
        parts = model.elbo_terms(X)
        of_each = parts.kl.shape[1] >= model.latent_dim_  # a learned prior and levels have no KL of each variable
        said = (parts.kl.mean(0) if of_each else parts.mean.var(0)).numpy()[: model.latent_dim_]
        shown = sorted(said.argsort()[-2:].tolist())
        notes = [f"  (KL {said[i]:.2f} nats)" if of_each else "" for i in shown]
    names = [f"latent variable {i}{note}" for i, note in zip(shown, notes, strict=True)]
    of_several = f", two of {model.latent_dim_} latent variables" if model.latent_dim_ > 2 else ""
    title = f"{dataset.source}: posterior means of {len(codes):,} rows{of_several}"
    save_map(latent_map(codes[:, shown], dataset.labels, names, title, label), path)


def share_of_noise(rows: np.ndarray, means: np.ndarray) -> float:
    """The part of the variance of pixels that is noise given z, by draws and the means of the same z."""
    import numpy as np

    noise = np.square(np.asarray(rows, np.float64) - means).mean()
    return float(noise / max(np.asarray(rows, np.float64).var(0).mean(), noise, 1e-12))
