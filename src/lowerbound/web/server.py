"""The server of the local page, in a thread of its own: on this machine's loopback address alone."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowerbound.web.answers import Answers

LOOPBACK = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 20.0, 5.0
BACKLOG = 128  # connections that wait


class Page:
    """A page that is served until it is closed, or the program ends.

    Attributes
    ----------
    url : str
        The address, with the token that opens it.
    port : int
    files : list of str
        The paths of what it serves besides its answers.
    """

    def __init__(self, make: Callable[[], Answers], port: int = 0) -> None:
        import uvicorn

        from lowerbound.web.application import application, static_files
        from lowerbound.web.guard import Guard

        self.service: Future[Answers] = Future()
        listening = _listen(port)
        self.port: int = listening.getsockname()[1]
        self.files: list[str] = list(static_files())
        token = secrets.token_urlsafe(32)
        self.url: str = f"http://{LOOPBACK}:{self.port}/?token={token}"
        guard: Any = Guard(application(self.service), token, self.port)
        config = uvicorn.Config(
            guard, log_level="error", access_log=False, server_header=False, date_header=False, lifespan="off",
            ws="none", limit_concurrency=128, timeout_keep_alive=30, h11_max_incomplete_event_size=16_384,
            timeout_graceful_shutdown=2, proxy_headers=False, http="h11",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        self._make = threading.Thread(target=self._load, args=(make,), daemon=True)
        self._make.start()
        self._wait_for_start()

    def _load(self, make: Callable[[], Answers]) -> None:
        try:
            self.service.set_result(make())
        except BaseException as error:  # shown where the result is asked for
            self.service.set_exception(error)

    def _wait_for_start(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise OSError(f"the page can't be served at {LOOPBACK}:{self.port}")
            time.sleep(0.01)

    def wait(self) -> None:
        """Serve until Ctrl-C; raises what went wrong while the model was loaded."""
        self.service.result()
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)

    def _repr_html_(self) -> str:
        """The link, in a notebook."""
        return f'<a href="{self.url}" target="_blank" rel="noopener">Look at the model</a> ({LOOPBACK}:{self.port})'

    def __repr__(self) -> str:
        return f"<page at {self.url}>"


def _listen(port: int) -> socket.socket:
    """A socket on the loopback address; of a port that is taken an error that says so."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # the port of a page that has just ended is free; elsewhere the option would share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"port {port} is taken: choose another, or leave it out", None) from error
    return listening


def explore(
    model: Any, X: Any = None, labels: Any = None, *, label: str = "label", port: int = 0, browser: bool = True
) -> Page:
    """Open a page on this machine to look at a fitted model: its codes, samples, reconstructions and outliers, live.

    It needs the extra ``ui``. The page is served by a thread of this process: in a script, end with ``.wait()``.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array-like, DataFrame or Source, shape (n, *row), sequences or texts, optional
        Data to look at it with; at most 100,000 rows of them, from all over.
    labels : array-like, shape (n,), optional
        A label for each row, or what the model is given with each row or text.
    label : str
        What the labels are called.
    port : int
        A free one if 0.
    browser : bool
        Open it in the browser.

    Returns
    -------
    Page
        Its ``url`` is the address; ``close()`` ends it.

    Raises
    ------
    ImportError
        Without the extra.
    TypeError
        If there is nothing to show of such a model.
    """
    check_extra()
    from lowerbound.report.subject import Run
    from lowerbound.report.subjects import subject_of
    from lowerbound.web.services import service_of

    run = Run(type(model).__name__, history=_history(model))
    subject = subject_of(model, X, labels, label=label, run=run)
    page = Page(lambda: service_of(subject), port)
    if browser:
        open_in_browser(page.url)
    return page


def _history(model: Any) -> list[dict[str, Any]]:
    return list(getattr(model, "history_", []))


def check_extra() -> None:
    """Raise ``ImportError``, which says what to install, unless the extra is there."""
    try:
        import starlette
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError("the page needs the extra ui: pip install 'lowerbound[ui]'") from error
    del starlette


def open_in_browser(url: str) -> bool:
    """Open an address in the user's browser; False where there is none."""
    import webbrowser

    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
