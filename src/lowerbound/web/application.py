"""The application of the local page: files that never change, and answers in JSON to its requests."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lowerbound.web.names import NAMES
from lowerbound.web.refusals import Superseded, Unanswerable

if TYPE_CHECKING:
    from lowerbound.web.answers import Answers

MOST_CLIENTS = 64
# of which a client has one in work, and the latest wins
QUICK = ("decode", "continue", "traversals", "gaps", "map", "reconstruct")
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class Latest:
    """One request at a time for each client and kind; of those that wait only the latest is answered."""

    def __init__(self) -> None:
        self.turns: OrderedDict[tuple[str, str], list[Any]] = OrderedDict()

    async def run(self, client: str, kind: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work when it is its turn; raises ``Superseded`` if there is a later request by then."""
        key = (client, kind)
        entry = self.turns.setdefault(key, [0, asyncio.Lock()])
        self.turns.move_to_end(key)
        entry[0] += 1
        turn = entry[0]
        while len(self.turns) > MOST_CLIENTS * len(QUICK):
            self.turns.popitem(last=False)
        async with entry[1]:
            if entry[0] != turn:
                raise Superseded
            return await work()


def application(service: Future[Answers]) -> Starlette:
    """The application; its answers wait for the service, which may still be loading its model.

    Parameters
    ----------
    service : Future of Answers
    """
    latest = Latest()

    def endpoint(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                body = json.loads(await request.body() or b"{}")
                if not isinstance(body, dict):
                    raise Unanswerable("a request is an object of JSON")
                found = await _found(name, body)
            except Superseded:
                return JSONResponse({"superseded": True}, 409)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
                return JSONResponse({"error": "this isn't JSON"}, 400)
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": " ".join(str(error).split())[:500]}, 400)
            return Response(json.dumps(found, ensure_ascii=False, allow_nan=False), media_type="application/json")

        return answer

    async def _found(name: str, body: dict[str, Any]) -> Any:
        ready = await _when_ready(service)

        async def work() -> Any:
            return await run_in_threadpool(ready.answer, name, body)

        client = body.get("client", "")
        if not isinstance(client, str) or len(client) > 64:
            raise Unanswerable("client must be a short word")
        return await latest.run(client, name, work) if name in QUICK else await work()

    routes = [Route(path, _unchanging(content, kind)) for path, (content, kind) in static_files().items()]
    routes += [Route(f"/api/{name}", endpoint(name), methods=["POST"]) for name in NAMES]
    return Starlette(routes=routes)


async def _when_ready(service: Future[Answers]) -> Answers:
    """The service when it has loaded its model; raises ``Unanswerable`` with the reason where it can't."""
    try:
        return await asyncio.wrap_future(service)
    except Exception as error:
        raise Unanswerable(str(error) or type(error).__name__) from error


def static_files() -> dict[str, tuple[bytes, str]]:
    """The files that are served, by their paths: read once, so that no request names a file."""
    found = {}
    for package in ("lowerbound.report", "lowerbound.web"):
        for entry in (files(package) / "static").iterdir():
            kind = TYPES.get(f".{entry.name.rpartition('.')[2]}") or mimetypes.guess_type(entry.name)[0]
            if kind is not None and not entry.name.startswith("report."):
                path = "/" if entry.name == "index.html" else f"/{entry.name}"
                found[path] = (entry.read_bytes(), kind)
    return found


def _unchanging(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer
