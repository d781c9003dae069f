"""Strangers are kept out: each attack is sent to a real server, and each is refused."""

import http.client
import json
import socket

import pytest

pytest.importorskip("uvicorn")

from lowerbound.web.guard import LARGEST_REQUEST, MOST_AT_ONCE, Guard
from lowerbound.web.server import LOOPBACK, Page
from lowerbound.web.service import Service


@pytest.fixture(scope="module")
def page(table_subject):
    page = Page(lambda: Service(table_subject))
    yield page
    page.close()


def token_of(page):
    return page.url.partition("token=")[2]


def sent(page, method="GET", path="/", body=None, **headers):
    """The answer to a request as it is written here: nothing is added but the cookie and what is usual."""
    usual = {"Host": f"{LOOPBACK}:{page.port}", "Cookie": f"lowerbound-{page.port}={token_of(page)}"}
    if method == "POST":
        usual |= {"Origin": f"http://{LOOPBACK}:{page.port}", "Content-Type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(LOOPBACK, page.port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {**usual, **given}.items():
        if value is not None:
            connection.putheader(name, value)
    if body is not None and "Content-Length" not in given:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.content = answer.read()
    connection.close()
    return answer


def test_the_token_becomes_a_cookie(page):
    answer = sent(page, path=f"/?token={token_of(page)}", Cookie=None)
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert cookie == f"lowerbound-{page.port}={token_of(page)}; HttpOnly; SameSite=Strict; Path=/"
    assert len(token_of(page)) >= 40


def test_the_page_is_served_to_whoever_has_the_cookie(page):
    answer = sent(page)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert sent(page, "POST", "/api/overview", b"{}").status == 200
    assert sent(page, Host=f"localhost:{page.port}").status == 200
    assert [path for path in page.files if sent(page, path=path).status != 200] == []


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/api/overview"])
def test_nothing_without_the_cookie(page, path):
    for cookie in (None, "", "lowerbound-1=x", f"lowerbound-{page.port}=wrong", f"lowerbound-{page.port}=", "é=é"):
        assert sent(page, path=path, Cookie=cookie).status == 403, cookie
    assert sent(page, "POST", "/api/overview", b"{}", Cookie=None).status == 403


@pytest.mark.parametrize("query", ["token=wrong", "token=", "token=%C3%A9"])
def test_a_wrong_token_opens_nothing(page, query):
    answer = sent(page, path=f"/?{query}", Cookie=None)
    assert answer.status in (400, 403)
    assert answer.headers["set-cookie"] is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "0.0.0.0", "", None])
def test_a_foreign_host_is_refused(page, host):
    """DNS rebinding: a name of the attacker's that leads to this machine."""
    assert sent(page, Host=host).status == 400
    assert sent(page, path=f"/?token={token_of(page)}", Host=host).status == 400


def test_two_hosts_are_refused(page):
    with socket.create_connection((LOOPBACK, page.port), 60) as plain:
        plain.sendall(f"GET / HTTP/1.1\r\nHost: {LOOPBACK}:{page.port}\r\nHost: evil.example\r\n\r\n".encode())
        assert plain.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", None, "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(page, origin):
    assert sent(page, "POST", "/api/overview", b"{}", Origin=origin).status == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_only_json_is_read(page, kind):
    assert sent(page, "POST", "/api/overview", b"{}", Content_Type=kind).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_site_asks_for_is_refused(page, site):
    assert sent(page, path="/app.js", Sec_Fetch_Site=site).status == 403
    assert sent(page, "POST", "/api/overview", b"{}", Sec_Fetch_Site=site).status == 403
    assert sent(page, path=f"/?token={token_of(page)}", Cookie=None, Sec_Fetch_Site=site).status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"])
def test_other_methods_are_refused(page, method):
    answer = sent(page, method, Origin="http://evil.example")
    assert answer.status == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/app.js", "//etc/passwd", "/app.js%00", "/report.js",
    "/..%2fguard.py", "/api/", "/api/__class__", "/api/answer", "/index.html",
])  # fmt: skip
def test_no_path_names_a_file(page, path):
    assert sent(page, path=path).status == 404
    assert sent(page, "POST", path, b"{}").status in (404, 405)


@pytest.mark.parametrize("path", ["/app.js?v=1", "/?file=/etc/passwd", "/?token=a&token=b", "/?token=a&next=//evil"])
def test_no_parameter_is_taken(page, path):
    assert sent(page, path=path).status == 400


def test_requests_are_bounded(page):
    assert sent(page, "POST", "/api/overview", b"", Content_Length=str(LARGEST_REQUEST + 1)).status == 413
    assert sent(page, path="/" + "a" * 600).status == 414
    assert sent(page, "POST", "/api/rows", json.dumps({"rows": [0] * 2001}).encode()).status == 400
    assert sent(page, "POST", "/api/decode", json.dumps({"z": [[0.0, 0.0]] * 65}).encode()).status == 400


def test_a_body_longer_than_it_says_it_may_be(page):
    """Sent in chunks, a request has no length."""
    with socket.create_connection((LOOPBACK, page.port), 60) as plain:
        head = (
            f"POST /api/overview HTTP/1.1\r\nHost: {LOOPBACK}:{page.port}\r\nOrigin: http://{LOOPBACK}:{page.port}\r\n"
            f"Cookie: lowerbound-{page.port}={token_of(page)}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        plain.sendall(head.encode())
        try:
            for _ in range(LARGEST_REQUEST // 2**20 + 2):
                plain.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")
        except OSError:
            pass  # it hung up
        else:
            assert b" 413 " in plain.recv(100)


def test_too_many_requests_at_once_are_refused():
    guard = Guard(None, "token", 1)
    guard.busy = MOST_AT_ONCE
    found = []

    async def send(message):
        found.append(message)

    with pytest.raises(StopIteration):
        guard({"type": "http"}, None, send).send(None)
    assert found[0]["status"] == 503


@pytest.mark.parametrize("body", [
    b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b'{"z": "x"}', b'{"z": [[1e999, 0]]}', b'{"z": [[null, 0]]}',
    b'{"z": [[0, 0]], "draw": 1}', b'{"z": [[0, 0]], "seed": -1}', b'{"z": [[0, 0]], "client": 5}',
    b'{"z": [[true, 0]]}',
])  # fmt: skip
def test_nonsense_gets_a_sentence(page, body):
    answer = sent(page, "POST", "/api/decode", body)
    assert answer.status == 400
    assert json.loads(answer.content)["error"]


@pytest.mark.parametrize(("name", "body"), [
    ("rows", {"rows": [-1]}), ("rows", {"rows": [10**9]}), ("rows", {"rows": "all"}), ("row", {"rows": []}),
    ("map", {"dimensions": [0, 7]}), ("map", {"dimensions": "tsne"}), ("gaps", {"rows": [0], "hidden": [99]}),
    ("gaps", {"rows": [0], "hidden": None}), ("reconstruct", {"values": [1]}), ("reconstruct", {}),
    ("reconstruct", {"values": {"town": {"$": 1}}}), ("selection", {"rows": [0.5]}), ("samples", {"n": 10**6}),
])  # fmt: skip
def test_other_nonsense(page, name, body):
    answer = sent(page, "POST", f"/api/{name}", json.dumps(body).encode())
    assert answer.status == 400
    assert json.loads(answer.content)["error"]


def test_what_a_browser_may_do_with_answers(page):
    for answer in (
        sent(page),
        sent(page, "POST", "/api/overview", b"{}"),
        sent(page, Cookie=None),
        sent(page, Host="x"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["access-control-allow-origin"] is None
        assert answer.headers["server"] is None


def test_only_the_loopback_address_is_bound(page):
    [listening] = page._server.servers[0].sockets
    assert listening.getsockname()[0] == LOOPBACK


def test_why_the_model_could_not_be_loaded_is_said(capfd):
    def make():
        raise OSError("table.csv doesn't exist")

    page = Page(make)
    answer = sent(page, "POST", "/api/overview", b"{}")
    page.close()
    assert answer.status == 400
    assert json.loads(answer.content)["error"] == "table.csv doesn't exist"
    assert capfd.readouterr().err == ""  # no traceback


def test_a_port_that_is_taken(page, table_subject):
    with pytest.raises(OSError, match=f"port {page.port} is taken"):
        Page(lambda: Service(table_subject), page.port)


def test_the_port_of_a_page_that_has_ended_is_free(table_subject):
    page = Page(lambda: Service(table_subject))
    connection = http.client.HTTPConnection(LOOPBACK, page.port, timeout=60)
    connection.request("GET", "/")
    connection.getresponse().read()
    page.close()  # with a connection that is open: its end is waited for on the server's side
    Page(lambda: Service(table_subject), page.port).close()
    connection.close()


def test_the_token_is_in_no_file_and_differs(page, table_subject):
    other = Page(lambda: Service(table_subject))
    assert token_of(other) != token_of(page)
    other.close()
    with pytest.raises(OSError):
        sent(other)
