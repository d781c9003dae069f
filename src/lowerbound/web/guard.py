"""The guard of the local page: it answers the browser that was given the token, on this machine, and nobody else.

Other users of the machine can reach the port, and so can pages of other sites in the same browser. So a random token in
the address becomes a cookie; Host, Origin and Sec-Fetch-Site must be those of this page; what changes or computes is
JSON by POST; requests are bounded in size and number; answers say what a browser may do with them.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

LARGEST_REQUEST = 8 * 2**20  # bytes; an image that is dropped on the page is sent in base 64
LONGEST_TARGET = 512  # characters of a path with its query
MOST_AT_ONCE = 32  # requests that are answered at the same time
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}  # fmt: skip
CLOSED = "This page belongs to whoever started it: open the address that the command printed."


class Refusal(Exception):
    """A request that isn't answered, with its status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status: int = status
        self.reason: str = reason


@dataclass
class Guard:
    """An application behind the checks of every request.

    Attributes
    ----------
    application : callable
        What answers those that pass.
    token : str
        The secret in the address.
    port : int
    """

    application: Application
    token: str
    port: int
    busy: int = field(default=0, init=False)

    @property
    def cookie(self) -> str:
        """The name of the cookie, one for each port, as browsers keep cookies of a host for all its ports."""
        return f"lowerbound-{self.port}"

    @property
    def hosts(self) -> set[str]:
        """The values of Host that are answered."""
        return {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            return await self.application(scope, receive, send)
        if scope["type"] != "http":  # the page has no web sockets
            return await send({"type": "websocket.close", "code": 1008})
        guarded = _with_headers(send)
        if self.busy >= MOST_AT_ONCE:
            return await _answer(guarded, 503, "too many requests at once")
        self.busy += 1
        try:
            headers = self.checked(scope)
            if scope["query_string"]:
                return await self._enter(scope, guarded)
            self._check_cookie(headers)
            await self.application(scope, await _bounded(scope, receive, headers), guarded)
        except Refusal as refusal:
            await _answer(guarded, refusal.status, refusal.reason)
        finally:
            self.busy -= 1

    def checked(self, scope: Message) -> dict[str, str]:
        """The headers of a request that comes from the page itself; raises ``Refusal``."""
        names = [name for name, _ in scope["headers"]]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if any(names.count(name) > 1 for name in (b"host", b"origin", b"content-type", b"content-length", b"cookie")):
            raise Refusal(400, "a header is there twice")
        if headers.get("host") not in self.hosts:
            raise Refusal(400, "this host isn't served")
        if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            raise Refusal(414, "the address is too long")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refusal(403, "requests from other sites aren't answered")
        if scope["method"] not in ("GET", "POST"):
            raise Refusal(405, "only GET and POST are answered")
        if scope["method"] == "POST":
            if headers.get("origin") != f"http://{headers['host']}":
                raise Refusal(403, "requests from other origins aren't answered")
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refusal(403, "only JSON is read")
        return headers

    def _check_cookie(self, headers: dict[str, str]) -> None:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            found = None
        if found is None or not self.is_token(found.value):
            raise Refusal(403, CLOSED)

    def is_token(self, word: str) -> bool:
        """True for the token, compared in a time that says nothing of it."""
        return hmac.compare_digest(word.encode(), self.token.encode())

    async def _enter(self, scope: Message, send: Send) -> None:
        """Turn the token of the address into a cookie, and go to the address without it."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] != "/" or scope["method"] != "GET" or set(query) != {"token"} or len(query["token"]) != 1:
            raise Refusal(400, "the page takes no parameters")
        if not self.is_token(query["token"][0]):
            raise Refusal(403, CLOSED)
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _bounded(scope: Message, receive: Receive, headers: dict[str, str]) -> Receive:
    """The same request, read in full if it isn't too large; raises ``Refusal``."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > LARGEST_REQUEST:
        raise Refusal(413, f"a request has at most {LARGEST_REQUEST:,} bytes")
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request was broken off")
        body += message.get("body", b"")
        if len(body) > LARGEST_REQUEST:
            raise Refusal(413, f"a request has at most {LARGEST_REQUEST:,} bytes")
        more = message.get("more_body", False)
    read = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(read, None) or await receive()

    return again


def _with_headers(send: Send) -> Send:
    """The same with the headers that say what a browser may do with the answer."""
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
