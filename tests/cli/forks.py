"""What the fixture ``program`` talks to: runs the program in processes of its own, which share the imports.

Reads requests as lines of JSON and answers each with ``{"code": ..., "stdout": ..., "stderr": ...}``; a negative code
is the signal that ended the process. ``after`` kills it so many seconds after its start, ``once`` as soon as a file has
content; ``at`` lets it kill itself the n-th time it comes to a certain point of writing a file; ``largest`` limits the
size of the files that it may write, in bytes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from lowerbound.cli import main


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(point: str, name: str, n: int) -> None:
    """Die at a point of writing the n-th file of that name."""
    write_bytes, replace = Path.write_bytes, Path.replace
    seen = 0

    def is_meant(path: Path) -> bool:
        nonlocal seen
        seen += name in path.name
        return name in path.name and seen == n

    def half_written(path: Path, content: bytes) -> int:
        if point == "half written" and is_meant(path):
            write_bytes(path, content[: len(content) // 2])
            die()
        return write_bytes(path, content)

    def moved(path: Path, target: Path) -> Path:
        meant = point != "half written" and is_meant(path)
        if meant and point == "before the rename":
            die()
        result = replace(path, target)
        if meant and point == "after the rename":
            die()
        return result

    Path.write_bytes, Path.replace = half_written, moved  # type: ignore[method-assign, assignment]


def wait_for(path: Path) -> None:
    """Wait until a file has content."""
    deadline = time.monotonic() + 100
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def run(request: dict) -> dict:
    with tempfile.TemporaryFile() as results, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            os.dup2(results.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            if "at" in request:
                arrange(*request["at"])
            if "largest" in request:
                resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], resource.RLIM_INFINITY))
            try:
                main([str(word) for word in request["words"]])
            except SystemExit as end:
                sys.stdout.flush()
                os._exit(end.code or 0)  # type: ignore[arg-type]
            os._exit(77)
        if "after" in request or "once" in request:
            time.sleep(request.get("after", 0))
            wait_for(Path(request.get("once", __file__)))
            os.kill(child, signal.Signals[request.get("signal", "SIGKILL")])
        _, status = os.waitpid(child, 0)
        said = {}
        for name, file in {"stdout": results, "stderr": errors}.items():
            file.seek(0)
            said[name] = file.read().decode()
        return {"code": os.waitstatus_to_exitcode(status), **said}


if __name__ == "__main__":
    from sklearn.datasets import load_iris

    import lowerbound.cli.fitting
    import lowerbound.comparison
    import lowerbound.imputation
    import lowerbound.outliers
    import lowerbound.pictures
    from lowerbound.cli import scoring
    from lowerbound.training import checkpoints

    lowerbound.VAE(2, max_epochs=1).fit(load_iris(as_frame=True).data)  # what a run imports, once for all
    checkpoints.PART = 1.0  # half of the time is spent in writing, so that kills fall into it
    scoring.SAVE_SECONDS, scoring.SAVE_COST, scoring.ROWS_IN_A_PART["importance"] = 0.0, 0, 20  # estimates in parts

    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
