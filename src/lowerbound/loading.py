"""Loading of fitted estimators from the folders in which they were saved."""

from __future__ import annotations

import importlib
import lzma
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from lowerbound.compression import files
from lowerbound.compression.container import CompressedFileError, DamagedError
from lowerbound.compression.files import Reading
from lowerbound.compression.packed import unpack
from lowerbound.estimators.saving import Restore, Saved
from lowerbound.parameters.upgrade import upgraded
from lowerbound.precision import undisturbed_by_contexts
from lowerbound.storage.atomic import FORMAT_VERSION, SavedFileError, load_folder
from lowerbound.storage.records import shown

HOMES = {  # the only classes that a saved folder can name
    "VAE": "estimators.vae",
    "Autoencoder": "estimators.autoencoder",
    "Factorized": "estimators.factorized",
    "Gaussian": "estimators.gaussian",
    "Mixture": "estimators.mixture",
    "PPCA": "estimators.ppca",
    "FactorAnalysis": "estimators.ppca",
    "PixelRNN": "estimators.pixel_rnn",
    "RBM": "estimators.rbm",
    "RecurrentVAE": "sequences.recurrent",
    "SequenceVAE": "sequences.sequence_vae",
    "VAEClassifier": "classification.classifier",
    "VAEImputer": "imputation.imputer",
    "VAEOutlierDetector": "outliers.detector",
}

DAMAGE = (  # what the building of a model raises where its description is wrong
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@undisturbed_by_contexts
def load(path: str | Path, network: tuple[torch.nn.Module, torch.nn.Module] | None = None, device: str = "auto") -> Any:
    """Read a fitted estimator from the folder that ``save`` wrote, or from the run that holds it.

    Parameters
    ----------
    path : str or Path
        The folder of ``save``, or of ``lowerbound train -o``.
    network : pair of Module, optional
        The encoder and decoder that the estimator was fitted with, if they were the user's own.
    device : str
        The device of the estimator; "auto" takes a GPU if there is one.

    Raises
    ------
    SavedFileError
        If the folder is missing, damaged or not written by lowerbound, or needs the user's own modules.
    """
    folder = Path(path)
    if not (folder / "model.json").exists() and (folder / "model" / "model.json").exists():
        folder = folder / "model"
    tensors, record = load_folder(folder)
    if record.get("class") == "Fitted":
        raise SavedFileError(f"{folder} was saved by Fitted.save: read it with Fitted.load(folder, model, posterior)")
    try:
        saved = Saved(tensors, upgraded(record) if record["version"] < FORMAT_VERSION else record)
        return Restore(_kind_of, network, device)(saved)
    except SavedFileError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SavedFileError(
            f"{folder} is damaged: what model.json says doesn't fit the weights ({reason[:300]})"
        ) from error


def _kind_of(name: Any) -> Any:
    """The class of an estimator by its name."""
    if not isinstance(name, str) or name not in HOMES:
        raise SavedFileError(f"there is no model {shown(name)} in this version of lowerbound")
    return getattr(importlib.import_module(f"lowerbound.{HOMES[name]}"), name)


@undisturbed_by_contexts
def decompress(
    path: str | Path, model: Any = None, *, context: Any = None, block: int | None = None, skip_damaged: bool = False
) -> Any:  # fmt: skip
    """Read the rows of a file that ``compress`` wrote.

    Parameters
    ----------
    path : path
    model : estimator or Fitted, optional
        The model that the rows were compressed with; None if it is in the file.
    context : array, series, DataFrame or list of str, optional
        What the model was given of the rows when they were compressed, unless ``model`` is given it already.
    block : int, optional
        Read this block alone, counted from 0.
    skip_damaged : bool
        Leave damaged blocks out, with a warning that names them, instead of failing.

    Returns
    -------
    ndarray, frame, sequences, list of str or bytes
        As it was given; the bytes of a text file.

    Raises
    ------
    CompressedFileError
        If the file can't be read; its subclasses say why.
    """
    with reading(path, model, context) as file:
        if block is not None and not 0 <= block < len(file):
            raise ValueError(f"there is no block {block} in {path}: it has {len(file)}, counted from 0")
        blocks = range(len(file)) if block is None else [block]
        blocks = file.intact(blocks) if skip_damaged else blocks
        if not blocks:
            raise DamagedError(f"no block of {path} can be read: copy it again")
        return file.codec.rows.join(list(file.rows(blocks)))


def reading(path: str | Path, model: Any = None, context: Any = None) -> AbstractContextManager[Reading]:
    """A context in which a file that ``compress`` wrote is open; parameters as of ``decompress``."""

    def inside(content: bytes) -> Any:
        found = _inside(content)
        return found if context is None else found.given(context)

    return files.reading(path, model if model is None or context is None else model.given(context), inside)


def _inside(content: bytes) -> Any:
    """The estimator inside of a compressed file."""
    try:
        return unpack(content, Restore(_kind_of, None, "auto"))
    except (*DAMAGE, EOFError, lzma.LZMAError, SafetensorError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CompressedFileError(f"the model in the file is damaged, no row can be read ({reason[:300]})") from error
