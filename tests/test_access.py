"""The gate before the app, request by request."""

import asyncio
from typing import Any

import pytest

from workbench.access import NO_TOKEN, Gate, hosts_of

RIGHT, HOST = "right-token_1", "localhost:8501"
ORIGIN, OTHER = f"http://{HOST}", "http://localhost:9999"
COOKIE = f"sth_token_8501={RIGHT}"


def ask(
    path: str = "/", query: str = "", kind: str = "http", method: str = "GET", *, token: str | None = RIGHT,
    origins: tuple[str, ...] = (ORIGIN, "https://lab.example.org"), **headers: str | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """What comes back through a gate before an app that answers everything with 200; of a socket, that it is open.

    A socket comes from the app's own page, unless `origin` says otherwise.
    """
    sent: list[dict[str, Any]] = []

    async def app(scope, receive, send):
        await send(
            {"type": f"{kind}.accept"}
            if kind == "websocket"
            else {"type": "http.response.start", "status": 200, "headers": []}
        )

    async def send(message):
        sent.append(message)

    given = {"host": HOST, "origin": ORIGIN if kind == "websocket" else None} | headers
    scope = {
        "type": kind, "path": path, "query_string": query.encode(), "server": ("127.0.0.1", 8501), "method": method,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value],
    }  # fmt: skip
    asyncio.run(Gate(app, origins=origins, token=token)(scope, None, send))
    return sent


def headers_of(start: dict[str, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in start["headers"]}


PATHS = ("/", "/clip", "/_stcore/upload_file/a/b", "/media/x.mp4", "/static/js/index.js", "/_stcore/health/x")
WRONG = (
    None,
    "sth_token_8501=",
    "sth_token_8501=wrong",
    f"sth_token_8502={RIGHT}",
    "sth_token_8501=r\xefght",
    "=;;[",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", WRONG)
@pytest.mark.parametrize("query", ["", "token=", "token=wrong", "token=r%C3%AFght", f"tokens={RIGHT}"])
def test_nothing_answers_without_the_token(path: str, cookie: str | None, query: str) -> None:
    start, body = ask(path, query, cookie=cookie)
    assert start["status"] == 403 and body["body"] == NO_TOKEN.encode()
    assert headers_of(start)["cache-control"] == "no-store"
    (closed,) = ask(path, query, "websocket", cookie=cookie)
    assert closed == {"type": "websocket.close", "code": 4403}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", [COOKIE, f"a=b; {COOKIE}; c=d"])
def test_who_has_the_cookie_is_let_through(path: str, cookie: str) -> None:
    assert ask(path, cookie=cookie)[0]["status"] == 200
    assert ask(path, kind="websocket", cookie=cookie)[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "path,query,to",
    [("/", "", "/"), ("/clip", "run=a%2Fb&clip=x+y&view=", "/clip?run=a%2Fb&clip=x+y&view="),
     ("//elsewhere.org/x", "", "/elsewhere.org/x"), ("/x", "", "/x"), ("/a\r\nb", "", "/a%0D%0Ab")],
)  # fmt: skip
def test_the_token_in_an_address_becomes_a_cookie_and_leaves_it(path: str, query: str, to: str) -> None:
    start, _ = ask(path, f"token={RIGHT}&{query}")
    headers = headers_of(start)
    assert (start["status"], headers["location"]) == (303, to)
    assert headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "same-origin"
    assert ask(path, f"token={RIGHT}", "websocket")[0]["type"] == "websocket.close"


def test_whether_the_server_is_there_may_be_known() -> None:
    assert ask("/_stcore/health")[0]["status"] == 200
    assert ask("/_stcore/health", kind="websocket")[0]["type"] == "websocket.close"
    assert ask("", kind="lifespan")


OWN, FOREIGN = (ORIGIN, "https://lab.example.org", "HTTP://LOCALHOST:8501"), (
    OTHER, "http://localhost", "https://localhost:8501", "http://127.0.0.1:8501", "http://localhost:85010", "null",
    "http://localhost:8501.evil.org", "http://evil.org", "https://x.lab.example.org", "file://", "http://localhost:8501/",
)  # fmt: skip
WRITES = [("/_stcore/upload_file/a/b", "PUT"), ("/_stcore/upload_file/a/b", "DELETE"), ("/_stcore/agent/mcp", "POST")]


@pytest.mark.parametrize("token", [RIGHT, None])
@pytest.mark.parametrize("origin", [*OWN, *FOREIGN, None])
def test_only_the_apps_own_pages_may_use_it(token: str | None, origin: str | None) -> None:
    own = origin in OWN
    (socket,) = ask("/_stcore/stream", kind="websocket", token=token, origin=origin, cookie=COOKIE)
    assert socket["type"] == ("websocket.accept" if own else "websocket.close")
    for path, method in WRITES:
        assert ask(path, method=method, token=token, origin=origin, cookie=COOKIE)[0]["status"] == (200 if own else 403)
    for path in (
        *PATHS,
        "/_stcore/health",
        "/component/a/b.js",
    ):  # a program, or a page that is opened, names no origin
        read = ask(path, token=token, origin=origin, cookie=COOKIE)
        assert read[0]["status"] == (200 if own or origin is None else 403)


@pytest.mark.parametrize(("origin", "named"), [(None, "no page"), (OTHER, OTHER)])
def test_where_a_refused_request_comes_from_is_said(origin: str | None, named: str) -> None:
    body = ask("/_stcore/agent/mcp", method="POST", origin=origin, cookie=COOKIE)[1]["body"].decode()
    assert body == f"This app answers only its own pages, and this request comes from {named}.\n"


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("same-origin", "no-cors", "image", 200),
        ("none", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("same-site", "no-cors", "image", 403),
        ("same-site", "no-cors", "script", 403),
        ("same-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "video", 403),
    ],
)
def test_another_page_can_link_to_the_app_and_not_embed_it(site: str, mode: str, dest: str, status: int) -> None:
    fetch = {"sec_fetch_site": site, "sec_fetch_mode": mode, "sec_fetch_dest": dest}
    assert ask("/media/x.png", cookie=COOKIE, **fetch)[0]["status"] == status


def test_a_link_on_another_site_opens_itself_again_with_the_cookie_and_once() -> None:
    fetch = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert headers_of(ask(sec_fetch_site="cross-site", **fetch)[0])["refresh"] == "0"
    assert "refresh" not in headers_of(ask(sec_fetch_site="same-origin", **fetch)[0])


@pytest.mark.parametrize("token", [RIGHT, None])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HOST, 200), ("LOCALHOST:8501", 200), ("lab.example.org", 200), ("lab.example.org:443", 200),
        ("evil.org:8501", 403), ("localhost", 403), ("localhost:9999", 403), ("127.0.0.1:8501", 403), (None, 403),
        ("localhost:8501@evil.org", 403), ("lab.example.org:80", 403),
    ],
)  # fmt: skip
def test_a_name_that_is_not_the_apps_is_refused(host: str | None, status: int, token: str | None) -> None:
    start, *body = ask("/_stcore/health", host=host, cookie=COOKIE, token=token)
    assert start["status"] == status
    if status == 403:
        assert f"not served at {host or 'an unnamed host'}." in body[0]["body"].decode()
    (socket,) = ask("/_stcore/stream", kind="websocket", host=host, cookie=COOKIE, token=token)
    assert (socket["type"] == "websocket.accept") == (status == 200)


def test_every_answer_forbids_to_guess_types_to_frame_and_to_load_from_elsewhere() -> None:
    for answer in (ask(), ask(cookie=COOKIE), ask(query=f"token={RIGHT}"), ask(origin=OTHER), ask(token=None)):
        headers = headers_of(answer[0])
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert policy["default-src"] == "'self'" and policy["script-src"] == "'self' blob:"
        assert policy["connect-src"] == f"'self' ws://{HOST} wss://lab.example.org"


def test_only_the_scripts_of_the_page_itself_may_run() -> None:
    page = "<script>\n  window.a = 1\n</script><script src='b.js'></script>"
    policy = Gate(None, origins=[ORIGIN], token=None, html=page).headers["content-security-policy"]
    # printf '\n  window.a = 1\n' | openssl dgst -sha256 -binary | base64
    assert "script-src 'self' blob: 'sha256-OYo7JPmHIm8f3LiGAXQwc2srNzmDDJ0FvIsrNQDCxZU=';" in policy


@pytest.mark.parametrize(
    ("origin", "hosts"),
    [
        ("http://a:8501", ["a:8501"]), ("http://a", ["a:80", "a"]), ("https://a:443", ["a:443", "a"]),
        ("http://[::1]:8501", ["[::1]:8501"]), ("https://a:80", ["a:80"]),
    ],
)  # fmt: skip
def test_a_host_is_named_with_its_port_unless_the_scheme_implies_it(origin: str, hosts: list[str]) -> None:
    assert hosts_of(origin) == hosts


def test_what_the_pages_may_load_from_where() -> None:
    policy = dict(
        part.split(" ", 1) for part in headers_of(ask(method="GET")[0])["content-security-policy"].split("; ")
    )
    assert policy["connect-src"] == "'self' ws://localhost:8501 wss://lab.example.org"
    none = {name for name, sources in policy.items() if sources == "'none'"}
    assert none == {"object-src", "base-uri", "frame-ancestors"}
    own = {name for name, sources in policy.items() if sources.split()[0] == "'self'"}
    assert own == {
        f"{name}-src" for name in ("default", "script", "style", "img", "media", "font", "connect", "worker")
    } | {"form-action"}
    blobs = {name for name, sources in policy.items() if "blob:" in sources}
    assert blobs == {"script-src", "img-src", "media-src", "worker-src"}
    assert {name for name, sources in policy.items() if "'unsafe-inline'" in sources} == {"style-src"}
