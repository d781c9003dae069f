"""Files of bits: rows compressed by fitted models, read again, and beside them other compressors on the same rows.

    python benchmarks/compression.py --data FOLDER --models RUNS
    python benchmarks/compression.py --report

FOLDER holds ``images`` (mnist.npz, fashion_mnist.npz, freyfaces.npz), ``tabular`` (adult_train.csv and others) and
``sequences`` (jsb_chorales.npz, names.txt).
Images are compressed by the recipes of ``density.py``, fitted to training images; the file has all test images.
``adult_test`` is compressed by a model of adult_train, ``adult_train`` by the same with the model in the file; every
other table by a model of itself. Chorales are those of the test set, by a model of the training set; of the names every
tenth one, by a model of the others. Black and white images are one draw from the gray values.

For each set: bits of the file for each number, beside the bound and the bytes of others on the same rows; by how much
files of the first 200, 2,000, … rows exceed their bounds; rows a second of CPU time, in and out, reading again while
writing left out. The rows that are read are compared with those written, all of them. Fitted models and what has been
measured stay in RUNS and in the JSON, so that a run that was cut short goes on; ``--report`` puts the table of what is
there into docs/compression.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from density import Until, binarized, fit, machine, read_data, read_recipe, recorded, revision

import lowerbound
from lowerbound import VAE, Factorized, RecurrentVAE, SequenceVAE
from lowerbound.compression.others import sizes
from lowerbound.data.readers.sequences import unpacked
from lowerbound.storage.atomic import write_text
from lowerbound.synthesis.synthesize import recommended

HERE = Path(__file__).parent
OUTPUT = HERE / "results" / "compression.json"
PAGE = HERE.parent / "docs" / "compression.md"
RECIPES = (
    "mnist-784-100-40", "mlp", "ladder", "mnist-8-bit-mlp", "mnist-8-bit-ladder", "fashion-mnist-8-bit-mlp",
    "fashion-mnist-8-bit-ladder", "frey-faces-conv",
)  # fmt: skip
PREFIXES = (200, 2000, 10000)


@dataclass(frozen=True)
class Job:
    """Rows, and the fitted model that compresses them."""

    X: Any
    model: Any
    with_model: bool = False
    plain: Any = None  # what others compress, if it isn't X


def images(recipe: str, data: Path, models: Path) -> Job:
    """Test images, and the VAE of a recipe."""
    read = read_recipe(recipe)
    train, test = read_data(data / "images", read["data"])
    vae, _ = fit(read, train, models, 0, Until(None))
    return Job((binarized(test) // 255).astype(np.uint8) if vae.schema_.binarize else test, vae)


def adult(part: str, kind: str, data: Path, models: Path) -> Job:
    """Rows of adult, and a model of its training rows."""
    train = pd.read_csv(data / "tabular" / "adult_train.csv")
    make = Factorized if kind == "factorized" else partial(recommended, train, 0)
    model = fitted(models / f"adult-{kind}", make, train)
    rows = train if part == "train" else pd.read_csv(data / "tabular" / "adult_test.csv")[list(train)]
    return Job(rows, model, with_model=part == "train")


def table(name: str, kind: str, data: Path, models: Path) -> Job:
    """All rows of a table, and a model of them with default parameters, in one file."""
    rows = pd.read_csv(data / "tabular" / f"{name}.csv")
    make = partial(Factorized if kind == "factorized" else partial(VAE, random_state=0), columns="auto")
    return Job(rows, fitted(models / f"{name}-{kind}", make, rows), with_model=True)


def chorales(kind: str, data: Path, models: Path) -> Job:
    """Test chorales of 88 keys, and a model of the training set with small networks."""
    with np.load(data / "sequences" / "jsb_chorales.npz") as file:
        train, test = (
            np.split(unpacked(file[part], 88, part), np.cumsum(file[f"{part}_len"])[:-1]) for part in ("train", "test")
        )
    options = {"exact": {"latent_dim": 0}, "vae": {"latent_dim": 8}, "masked": {"latent_dim": 0, "head": "masked"}}[
        kind
    ]
    make = partial(RecurrentVAE, hidden_size=64, max_epochs=40, random_state=0, **options)
    return Job(test, fitted(models / f"jsb-{kind}", make, train), plain=np.concatenate(test))


def names(kind: str, data: Path, models: Path) -> Job:
    """Every tenth name, and a model of the others with small networks."""
    texts = lowerbound.read(data / "sequences" / "names.txt").X
    make = partial(SequenceVAE, {"exact": 0, "vae": 8}[kind], hidden_size=64, max_epochs=10, random_state=0)
    model = fitted(models / f"names-{kind}", make, [text for i, text in enumerate(texts) if i % 10])
    return Job(texts[::10], model, plain="".join(f"{text}\n" for text in texts[::10]).encode())


def fitted(folder: Path, make: Callable[[], Any], rows: Any) -> Any:
    """The model in a folder, or a new one."""
    if not folder.exists():
        make().fit(rows).save(folder)
    return lowerbound.load(folder)


def jobs(data: Path) -> dict[str, Callable[[Path, Path], Job]]:
    """What is measured, by name; called with the folders of data and of models."""
    found: dict[str, Callable[[Path, Path], Job]] = {recipe: partial(images, recipe) for recipe in RECIPES}
    for part in ("test", "train"):
        found |= {f"adult_{part}|{kind}": partial(adult, part, kind) for kind in ("factorized", "vae")}
    found |= {f"jsb_chorales_test|{kind}": partial(chorales, kind) for kind in ("exact", "vae", "masked")}
    found |= {f"names|{kind}": partial(names, kind) for kind in ("exact", "vae")}
    tables = sorted(path.stem for path in (data / "tabular").glob("*.csv") if not path.stem.startswith("adult_"))
    return found | {f"{name}|{kind}": partial(table, name, kind) for name in tables for kind in ("factorized", "vae")}


def measure(job: Job) -> dict[str, Any]:
    """The file of the rows and what it holds when it is read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.lb"
        started = time.process_time()
        file = lowerbound.compress(job.model, job.X, path, with_model=job.with_model, verify=False)
        seconds_in, started = time.process_time() - started, time.process_time()
        again = lowerbound.decompress(path, None if job.with_model else job.model)
        seconds_out = time.process_time() - started
        overheads = {}
        for n in PREFIXES:
            if n < len(job.X) and not job.with_model:
                overheads[str(n)] = lowerbound.compress(job.model, job.X[:n], path, verify=False).overhead
    return {
        "n_rows": file.n_rows, "n_dimensions": file.n_dimensions, "n_bytes": file.n_bytes,
        "model_bytes": file.model_bytes, "half_precision": file.half_precision, "bits_per_dim": file.bits_per_dim,
        "bound_bits_per_dim": file.bound / file.n_rows / max(1, file.n_dimensions),
        "overheads": {**overheads, str(file.n_rows): file.overhead},
        "rows_per_second": {"in": len(job.X) / seconds_in, "out": len(job.X) / seconds_out},
        "same": same(job.X, again),
        "others": sizes(job.X if job.plain is None else job.plain, getattr(job.model.schema_, "event_shape", ())),
    }  # fmt: skip


def same(X: Any, again: Any) -> bool:
    """Whether the very rows came back."""
    if isinstance(X, pd.DataFrame):
        return X.equals(again)
    if isinstance(X, list):
        return len(X) == len(again) and all(map(same, X, again))
    if isinstance(X, str):
        return again == X
    return X.dtype == again.dtype and bool((again == X).all())


def report(record: dict) -> str:
    """A table of Markdown."""
    lines = [
        "| rows | model | bits/dim | bound | over it | file, bytes | best other | of it | rows/s in, out |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, r in record["sets"].items():
        rows, _, kind = name.partition("|")
        best = min(r["others"], key=r["others"].get)
        note = f", {r['model_bytes']:,} of them the model" if r["model_bytes"] else ""
        speed = ", ".join(f"{r['rows_per_second'][way]:,.0f}" for way in ("in", "out"))
        over = r["overheads"][str(r["n_rows"])]
        lines.append(
            f"| {r['n_rows']:,} of {r.get('data', rows)} | {kind or rows} | {r['bits_per_dim']:.4f} | "
            f"{r['bound_bits_per_dim']:.4f} | {100 * over:.2f} % | {r['n_bytes']:,}{note} | "
            f"{best} {r['others'][best]:,} | {r['n_bytes'] / r['others'][best]:.2f} | {speed} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with images and tabular")
    parser.add_argument("--models", type=Path, help="folder of fitted models")
    parser.add_argument("--only", nargs="+", help="names, such as mlp or adult_test; all if it isn't given")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--report", action="store_true", help="put the table of what there is into the docs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"sets": {}}
    if not arguments.report:
        arguments.models.mkdir(parents=True, exist_ok=True)
        for name, job in jobs(arguments.data).items():
            if name in record["sets"] or (arguments.only and not {name, name.partition("|")[0]} & set(arguments.only)):
                continue
            made = job(arguments.data, arguments.models)
            found = {"commit": revision(), **measure(made), "parameters": recorded(made.model.get_params(deep=False))}
            if name in RECIPES:
                found["data"] = read_recipe(name)["data"]
            record["sets"][name] = found
            record |= {"command": "python benchmarks/compression.py --data FOLDER --models RUNS", "machine": machine()}
            write_text(arguments.output, json.dumps(record, indent=1) + "\n")
            print(name, {k: v for k, v in found.items() if k != "parameters"}, flush=True)
    text = PAGE.read_text(encoding="utf-8")
    shown = f"<!-- measured -->\n{report(record)}\n<!-- end -->"
    print(shown)
    if arguments.report:
        text = re.sub(r"<!-- measured -->.*?<!-- end -->", lambda _: shown, text, flags=re.DOTALL)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
