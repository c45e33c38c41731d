"""The served app with its token: in a real Chromium, from another website's page, and for many visitors at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.exceptions import InvalidStatus

from benchmarks.browser import serving
from tests.conftest import PATIENCE
from tests.visitors import connected, cookie_of, session_id, texts, visit, xsrf_of
from workbench.demo import NETWORKS

pytestmark = pytest.mark.browser
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def served(demo: Path) -> Iterator[tuple[str, int]]:
    """The printed address of the app, and its process's number; an upload may have one megabyte."""
    with serving(demo / "runs", "--max-upload", "1") as served:
        yield served


@pytest.fixture(scope="module")
def printed(served: tuple[str, int]) -> str:
    return served[0]


@pytest.fixture(scope="module")
def base(printed: str) -> str:
    return printed.split("/?")[0]


@pytest.fixture(scope="module")
def other_site() -> Iterator[int]:
    """The port of another website on this machine, whose pages are empty."""

    class EmptyPage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def opened(tab: Page, printed: str) -> Page:
    """A browser that has opened the printed address."""
    tab.goto(printed)
    expect(tab.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    return tab


def test_only_a_browser_with_the_token_gets_in(browser: Browser, opened: Page, base: str, printed: str):
    assert "token" not in opened.url and "token" not in opened.evaluate("document.referrer")
    (kept,) = (cookie for cookie in opened.context.cookies() if cookie["name"].startswith("sth_token_"))
    assert (kept["httpOnly"], kept["sameSite"]) == (True, "Strict") and printed.endswith(f"/?token={kept['value']}")
    assert "sth_token" not in opened.evaluate("document.cookie")
    opened.reload()
    expect(opened.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    second = opened.context.new_page()
    second.goto(f"{base}/predictions?run=motion-rgb-p4", timeout=PATIENCE)
    expect(second.get_by_role("heading", name="Predictions")).to_be_visible()
    second.close()
    stranger = browser.new_page()
    stranger.goto(f"{base}/predictions?run=motion-rgb-p4", timeout=PATIENCE)
    expect(stranger.get_by_text("it ends in a token")).to_be_visible()
    assert "motion-rgb-p4" not in stranger.locator("body").inner_text()
    stranger.close()


FROM_ANOTHER_PAGE = """async ([base, favicon]) => {
  const settled = (start) => new Promise((resolve) => start(() => resolve("got in"), () => resolve("refused")))
  const load = (kind, source) => settled((yes, no) => {
    const one = Object.assign(document.createElement(kind), { onload: yes, onerror: no })
    one.src = source
    document.body.append(one)
  })
  const fetched = (path, options) => fetch(base + path, { credentials: "include", ...options })
    .then(() => "got in", () => "refused")
  return {
    socket: await settled((yes, no) => {
      const one = new WebSocket(base.replace("http", "ws") + "/_stcore/stream", ["streamlit"])
      Object.assign(one, { onopen: yes, onerror: no })
    }),
    upload: await fetched("/_stcore/upload_file/a/b", { method: "PUT", body: "a" }),
    read: await fetched(favicon),
    image: await load("img", base + favicon),
    script: await load("script", base + document.querySelector("title").dataset.script),
  }
}"""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # to which the browser sends the cookie, and not
def test_a_page_of_another_site_cannot_use_read_or_embed_the_app(host: str, opened: Page, base: str, other_site: int):
    script = opened.locator("script[type=module][src]").first.get_attribute("src").removeprefix(".")
    other = opened.context.new_page()
    other.goto(f"http://{host}:{other_site}")
    other.evaluate("script => { document.querySelector('title').dataset.script = script }", script)
    answers = other.evaluate(FROM_ANOTHER_PAGE, [base, "/favicon.png"])
    assert answers == dict.fromkeys(("socket", "upload", "read", "image", "script"), "refused")
    other.evaluate("base => { document.body.innerHTML = `<iframe src='${base}'></iframe>` }", base)
    frame = other.frame_locator("iframe")
    other.wait_for_timeout(300)
    assert frame.get_by_role("heading", name="Attention").count() == 0
    other.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_link_on_another_site_opens_its_view_where_the_token_is_known(
    host: str, opened: Page, base: str, other_site: int
):
    other = opened.context.new_page()
    other.goto(f"http://{host}:{other_site}")
    other.evaluate("to => { document.body.innerHTML = `<a href='${to}'>view</a>` }", f"{base}/notes?run=motion-rgb-p4")
    other.get_by_text("view").click()
    expect(other.get_by_role("heading", name="Notes")).to_be_visible()
    assert "run=motion-rgb-p4" in other.url
    other.close()


def test_no_process_is_started_with_the_token(served: tuple[str, int]):
    printed, pid = served
    token = printed.split("token=")[1]
    server = psutil.Process(pid)
    assert "STH_NEEDS_TOKEN" in server.environ()  # it can be read
    for process in (server, *server.children(recursive=True)):
        assert token not in " ".join([*process.cmdline(), *process.environ().values()])


def test_the_socket_opens_for_the_apps_own_page_with_the_cookie_alone(printed: str, base: str):
    cookie = cookie_of(printed)
    with connected(base, cookie=cookie) as socket:
        assert "Runs" in texts(visit(socket))
    for origin, given in (("http://localhost:9999", cookie), ("null", cookie), (base, ""), (base, f"{cookie}x")):
        with pytest.raises(InvalidStatus, match="403"), connected(base, origin=origin, cookie=given):
            pass


def test_ten_sessions_at_once_each_see_their_own(printed: str, base: str):
    names = [NETWORKS[i % len(NETWORKS)].name for i in range(10)]

    def session(name: str) -> tuple[str, list[str]]:
        with connected(base, cookie=cookie_of(printed)) as socket:
            answers = visit(socket, "predictions", f"run={name}&view=Per+class")
            visit(socket, "compare", f"a={name}&b={NETWORKS[0].name}")
            again = visit(socket, "predictions", f"run={name}&view=Per+class")
        assert texts(again) == texts(answers)
        return session_id(answers), texts(answers)

    with ThreadPoolExecutor(10) as pool:
        seen = list(pool.map(session, names))
    assert len({session for session, _ in seen}) == 10
    for name, (_, shown) in zip(names, seen, strict=True):
        assert f"60 of 60 clips match: {name}" in shown
        assert not [other for other in {*names} - {name} if any(text.endswith(f"match: {other}") for text in shown)]


@pytest.mark.parametrize(
    ("size", "declared", "status"),
    [
        (MEGABYTE - 1000, True, 204), (MEGABYTE, False, 204), (MEGABYTE + 1, False, 413), (64 * MEGABYTE, True, 413),
        (64 * MEGABYTE, False, 413),
    ],
)  # fmt: skip
def test_an_upload_beyond_the_limit_is_refused_and_not_kept(
    size: int, declared: bool, status: int, printed: str, base: str, served: tuple[str, int]
):
    cookie, server = cookie_of(printed), psutil.Process(served[1])
    xsrf = xsrf_of(base, cookie)
    with connected(base, cookie=cookie) as socket:
        session = session_id(visit(socket, "own"))
        before = server.memory_info().rss
        assert put(base, f"/_stcore/upload_file/{session}/1", size, declared, cookie, xsrf) == status
        assert server.memory_info().rss < before + 16 * MEGABYTE


def put(base: str, path: str, size: int, declared: bool, cookie: str, xsrf: str) -> int:
    """The status of an upload of so many bytes; without `declared` its size is not said in advance."""
    head = b'--a\r\nContent-Disposition: form-data; name="f"; filename="v.mp4"\r\n\r\n'
    body, end = memoryview(bytes(size)), b"\r\n--a--\r\n"
    pieces = [head, *(body[start : start + 2**16] for start in range(0, size, 2**16)), end]
    headers = {
        "Origin": base, "Cookie": f"{cookie}; _streamlit_xsrf={xsrf}", "X-Xsrftoken": xsrf,
        "Content-Type": "multipart/form-data; boundary=a",
    }  # fmt: skip
    if declared:
        headers["Content-Length"] = str(len(head) + size + len(end))
    with closing(HTTPConnection(urlsplit(base).netloc, timeout=PATIENCE / 1000)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it answered before all was sent
            connection.request("PUT", path, iter(pieces), headers, encode_chunked=not declared)
        return connection.getresponse().status
