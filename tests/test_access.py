"""The gate before the app, request by request."""

import asyncio
from typing import Any

import pytest

from workbench.access import REFUSED, Gate

RIGHT = "right-token_1"


def ask(path: str, query: str = "", cookie: str | None = None, kind: str = "http") -> list[dict[str, Any]]:
    """What comes back through a gate before an app that answers everything with 200; of a socket, that it is open."""
    sent: list[dict[str, Any]] = []

    async def app(scope, receive, send):
        await send(
            {"type": f"{kind}.accept"} if kind == "websocket" else {"type": "http.response.start", "status": 200}
        )

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"a"), *([(b"cookie", cookie.encode())] if cookie is not None else [])]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": headers, "server": ("a", 8501)}
    asyncio.run(Gate(app, RIGHT)(scope, None, send))
    return sent


PATHS = ("/", "/clip", "/_stcore/upload_file/a/b", "/media/x.mp4", "/static/js/index.js", "/_stcore/health/x")
WRONG = (
    None,
    "",
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
    start, body = ask(path, query, cookie)
    assert start["status"] == 403 and body["body"] == REFUSED.encode()
    (closed,) = ask(path, query, cookie, "websocket")
    assert closed == {"type": "websocket.close", "code": 4403}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", [f"sth_token_8501={RIGHT}", f"a=b; sth_token_8501={RIGHT}; c=d"])
def test_who_has_the_cookie_is_let_through(path: str, cookie: str) -> None:
    assert ask(path, cookie=cookie)[0]["status"] == 200
    assert ask(path, cookie=cookie, kind="websocket")[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "path,query,to",
    [("/", "", "/"), ("/clip", "run=a%2Fb&clip=x+y&view=", "/clip?run=a%2Fb&clip=x+y&view="),
     ("//elsewhere.org/x", "", "/elsewhere.org/x"), ("/a\r\nb", "", "/a%0D%0Ab")],
)  # fmt: skip
def test_the_token_in_an_address_becomes_a_cookie_and_leaves_it(path: str, query: str, to: str) -> None:
    start, _ = ask(path, f"token={RIGHT}&{query}")
    headers = {key: value.decode() for key, value in start["headers"]}
    assert (start["status"], headers[b"location"]) == (303, to)
    assert headers[b"set-cookie"] == f"sth_token_8501={RIGHT}; Path=/; HttpOnly; SameSite=Lax"
    assert ask(path, f"token={RIGHT}", kind="websocket")[0]["type"] == "websocket.close"


def test_whether_the_server_is_there_may_be_known() -> None:
    assert ask("/_stcore/health")[0]["status"] == 200
    assert ask("", kind="lifespan")
