"""Who may use the app: on this machine everyone; from others, who has the token that `sth app --host` printed.

A browser that opens an address with the token is given a cookie for it, so that a page can be loaded again or opened in
a second tab. Without one, nothing of the server answers: no page, no upload, no picture.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

TOKEN = "STH_TOKEN"  # in the environment of the server; none: no token is asked for
OPEN = "/_stcore/health"  # says that the server is there, and nothing else
REFUSED = b"Open this app by the address that `sth app` printed when it was started: it ends in a token.\n"

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Gate:
    """ASGI middleware that lets nobody through without the token."""

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan" or scope["path"] == OPEN or self.knows(cookies(scope).get(name(scope), "")):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        elif self.knows(dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")):
            await answer(send, 303, location=without_token(scope), set_cookie=f"{name(scope)}={self.token}; {KEPT}")
        else:
            await answer(send, 403, REFUSED, content_type="text/plain; charset=utf-8")

    def knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


KEPT = "Path=/; HttpOnly; SameSite=Lax"  # by the browser until it is closed, and not for other sites' pages


def name(scope: Message) -> str:
    """A cookie's: a browser shows a host's cookies at all of its ports."""
    return f"sth_token_{(scope.get('server') or ('', ''))[1]}"


def cookies(scope: Message) -> dict[str, str]:
    sent = b"; ".join(value for key, value in scope["headers"] if key == b"cookie")
    try:
        return {key: morsel.value for key, morsel in SimpleCookie(sent.decode("latin-1")).items()}
    except CookieError:
        return {}


def without_token(scope: Message) -> str:
    """The address that was asked for, which may be copied to others."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    rest = urlencode([(key, value) for key, value in query if key != "token"])
    return quote(f"/{scope['path'].lstrip('/')}") + (f"?{rest}" if rest else "")  # "//host" would lead elsewhere


async def answer(send: Callable[[Message], Awaitable[None]], status: int, body: bytes = b"", **headers: str) -> None:
    pairs = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    pairs += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
