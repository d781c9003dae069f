"""Memory and speed on data larger than memory, and whether sorted data are learned from.

    python benchmarks/larger_than_memory.py make FOLDER        # 20 GB of .npy and 10 million rows of Parquet
    python benchmarks/larger_than_memory.py memory FOLDER      # peak memory of train, evaluate, encode, reconstruct
    python benchmarks/larger_than_memory.py make-gaps FOLDER   # tables with gaps, of numbers and of text
    python benchmarks/larger_than_memory.py gaps FOLDER        # peak memory of impute and outliers on each of them
    python benchmarks/larger_than_memory.py speed FOLDER       # epochs from a file, against those from memory
    python benchmarks/larger_than_memory.py sorted --data mnist.npz

Each but those that make data adds its part to ``benchmarks/results/larger-than-memory.json``. Memory is the highest
resident set that the operating system saw of the process (ru_maxrss), shared libraries and mapped files included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from density import machine, revision

import lowerbound
from lowerbound import MLP, VAE, Adam, BernoulliLikelihood
from lowerbound.data import sources
from lowerbound.storage.atomic import write_text

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path(__file__).parent / "results" / "larger-than-memory.json"
COLUMNS, FACTORS = {"npy": 256, "parquet": 20, "speed": 784}, 8
BLOCK = 2**16  # rows made at once
PARTS = (50, 5, 1)  # tables with gaps hold one of so many parts
NARROW = 4  # columns
CHEAP = ("--hidden-layer-sizes", "16", "--latent-dim", "4", "--batch-size", "2000", "--max-epochs", "1")
SPEED = {"latent_dim": 50, "batch_size": 100, "optimizer": Adam(1e-3), "network": MLP((200, 200), activation="tanh")}
LEARNED = SPEED | {"max_epochs": 5, "random_state": 0, "likelihood": BernoulliLikelihood("sample")}


def blocks(n_rows: int, n_columns: int, dtype: str) -> Iterator[np.ndarray]:
    """Rows with 8 factors in them and noise in every entry; blocks differ in level and scale, which drift."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((FACTORS, n_columns))
    x = np.tanh(rng.standard_normal((BLOCK, FACTORS)) @ loadings) + 0.1 * rng.standard_normal((BLOCK, n_columns))
    x = x.astype(dtype)
    for first in range(0, n_rows, BLOCK):
        scale = rng.uniform(0.9, 1.1, n_columns).astype(dtype)
        yield (x * scale + np.asarray(first / n_rows, dtype))[: n_rows - first]


def make_npy(path: Path, n_bytes: float, n_columns: int, dtype: str) -> None:
    n_rows = int(n_bytes / (n_columns * np.dtype(dtype).itemsize))
    with path.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (n_rows, n_columns)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(n_rows, n_columns, dtype):
            block.tofile(file)


def make_parquet(path: Path, n_rows: int) -> None:
    """With row groups as large as pyarrow makes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{i}" for i in range(COLUMNS["parquet"])]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names])) as writer:
        held: list[np.ndarray] = []
        for block in blocks(n_rows, len(names), "f8"):
            held.append(block)
            if len(held) == 16:  # 2²⁰ rows
                writer.write_table(pa.table(list(np.concatenate(held).T), names))
                held = []
        if held:
            writer.write_table(pa.table(list(np.concatenate(held).T), names))


def with_gaps(path: Path, n_bytes: float, n_columns: int) -> None:
    """Numbers of which a twentieth are missing."""
    make_npy(path, n_bytes, n_columns, "f4")
    X, rng = np.load(path, mmap_mode="r+"), np.random.default_rng(1)
    for first in range(0, len(X), BLOCK):
        block = X[first : first + BLOCK]
        block[rng.random(block.shape, np.float32) < 0.05] = np.nan


def with_words(path: Path, n_rows: int) -> None:
    """Text, categories, dates, amounts and counts, which hang together; a twentieth of most columns is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(0), None
    for first in range(0, n_rows, 2**20):
        frame = words(rng, min(2**20, n_rows - first))
        for column in ("name", "city", "kind", "note", "day", "amount", "age"):
            frame.loc[rng.random(len(frame)) < 0.05, column] = None
        batch = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(batch)
    assert writer is not None
    writer.close()


def words(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Each row is of one of twenty groups, on which its columns depend."""
    import pandas as pd

    group = rng.integers(0, 20, n)
    amount = np.exp(rng.normal(group / 5, 1))
    return pd.DataFrame(
        {
            "name": np.char.add("n", (rng.zipf(1.2, n) % 100_000).astype("U6")),
            "city": np.char.add("city ", (20 * group + rng.integers(0, 20, n)).astype("U4")),
            "kind": pd.Categorical.from_codes(group % 5, list("abcde")),
            "note": np.where(group < 7, "as it should be", np.where(group < 15, "to be seen again", "returned")),
            "day": np.datetime64("2020-01-01") + 30 * group + rng.integers(0, 60, n),
            "written": (np.datetime64("2021-01-01") + rng.integers(0, 365, n)).astype("U10"),
            "amount": np.where(rng.random(n) < 0.3, 0.0, amount),
            "visits": rng.poisson(amount),
            "age": rng.normal(20 + 2 * group, 5),
            "member": rng.random(n) < group / 20,
        }
    )


def make(folder: Path, gigabytes: float, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    make_npy(folder / "rows.npy", gigabytes * 1e9, COLUMNS["npy"], "f8")
    make_parquet(folder / "table.parquet", rows)
    make_npy(folder / "speed.npy", 4e8, COLUMNS["speed"], "f4")
    make_for_gaps(folder, gigabytes, rows)


def make_for_gaps(folder: Path, gigabytes: float, rows: int) -> None:
    """Each in several sizes: memory that grows with the rows would be seen."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        with_gaps(folder / f"wide-1-of-{part}.npy", gigabytes * 1e8 / part, COLUMNS["npy"])
        with_gaps(folder / f"narrow-1-of-{part}.npy", rows / 5 * 4 * NARROW / part, NARROW)
        with_words(folder / f"words-1-of-{part}.parquet", rows // 10 // part)


def command(*words: str | Path) -> dict:
    """Run a command of the program; its time and its highest memory."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lowerbound", *map(str, words)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    seconds = round(time.perf_counter() - started, 1)
    record = {
        "command": words[0], "peak_megabytes": round(usage.ru_maxrss / 1024), "seconds": seconds,
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }  # fmt: skip
    print(json.dumps(record), flush=True)
    return record


def memory(folder: Path) -> dict:
    record = {}
    for name in ("table.parquet", "rows.npy"):
        data, run = folder / name, folder / f"{name}.run"
        record[name] = {
            "bytes": data.stat().st_size,
            "runs": [
                command("train", data, "-o", run, *CHEAP, "--force"),
                command("evaluate", run, data, "--n-importance", "1"),
                command("encode", run, data, "-o", folder / "codes.npy", "--force"),
                command("encode", run, data, "-o", folder / "codes.csv", "--force"),
                *([command("reconstruct", run, data, "-o", folder / "x.parquet", "--force")] if name[0] == "t" else []),
            ],
        }
        shutil.rmtree(run)
    for made in ("codes.npy", "codes.csv", "x.parquet"):
        (folder / made).unlink()
    return record


def gaps(folder: Path) -> dict:
    """Outliers take a millisecond a row of the processor's time or more, but of the narrow table: of the others, all
    rows are filled and a fifth of them scored."""
    record = {}
    for data in sorted(folder.glob("*-of-*"), key=lambda path: path.stat().st_size):
        run, filled = folder / f"{data.name}.run", folder / f"filled{data.suffix}"
        scored = not data.stem.endswith("-of-1") or data.name.startswith("narrow")
        record[data.name] = {
            "bytes": data.stat().st_size,
            "shape": list(lowerbound.stream(data).shape),
            "runs": [
                command("train", data, "--stream", "-o", run, *CHEAP, "--force"),
                command("impute", run, data, "--stream", "-o", filled, "--n-importance", "5", "--force"),
                *(
                    [command("outliers", run, data, "--stream", "-o", folder / "ranked.csv", "--force")]
                    if scored
                    else []
                ),
            ],
        }
        shutil.rmtree(run)
        filled.unlink()
    (folder / "ranked.csv").unlink()
    return record


def epoch_seconds(X, epochs: int) -> float:
    vae = VAE(**SPEED, max_epochs=epochs, early_stopping=False, random_state=0).fit(X)
    seconds = [record["seconds"] for record in vae.history_]
    return statistics.median(np.diff([0, *seconds]))


def speed(folder: Path) -> dict:
    """Epochs in turn from memory and from the file, whose pages are in the cache after the first look."""
    path = folder / "speed.npy"
    X = np.load(path)
    ratios = []
    for _ in range(3):
        from_memory, from_file = epoch_seconds(X, 1), epoch_seconds(lowerbound.stream(path), 1)
        ratios.append(from_memory / from_file)
        print(f"{len(X) / from_memory:,.0f} rows/s from memory, {len(X) / from_file:,.0f} from the file", flush=True)
    return {"ratio": round(statistics.median(ratios), 3), "ratios": [round(r, 3) for r in ratios], "rows": len(X)}


def learn(X, test: np.ndarray) -> float:
    return float(VAE(**LEARNED).fit(X).elbo_terms(test).elbo.mean())


def sorted_data(path: Path, folder: Path) -> dict:
    """MNIST sorted by digit; a window holds a 32nd of it, as if it were 2 GB."""
    with np.load(path) as arrays:
        order = np.argsort(arrays["y_train"], kind="stable")
        train, test = arrays["x_train"][order].reshape(len(order), -1), arrays["x_test"].reshape(10_000, -1)
    np.save(folder / "sorted.npy", train)
    sources.BLOCK_BYTES = train.nbytes // 32
    return {"in memory": learn(train, test), "streamed": learn(lowerbound.stream(folder / "sorted.npy"), test)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "make-gaps", "memory", "gaps", "speed", "sorted"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("large"))
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--data", type=Path, help="mnist.npz with x_train, y_train and x_test")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.what == "make":
        return make(folder, arguments.gigabytes, arguments.rows)
    if arguments.what == "make-gaps":
        return make_for_gaps(folder, arguments.gigabytes, arguments.rows)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.what == "sorted":
        found = sorted_data(arguments.data, folder)
    else:
        found = {"memory": memory, "gaps": gaps, "speed": speed}[arguments.what](folder)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    commit = revision()
    part = {"commit": commit, "machine": machine(), "found": found}
    print(json.dumps(part, indent=1))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output, json.dumps({**before, arguments.what: part}, indent=1) + "\n")


if __name__ == "__main__":
    main()
