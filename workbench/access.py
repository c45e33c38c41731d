"""Who may use the app: everyone on this machine; from others, those with the token that `sth app --host` prints.

A browser that opens an address with the token gets a cookie with it, so that pages can be reloaded and opened in other
tabs. Without token and cookie the server refuses every request.
"""

import hmac
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN = "STH_TOKEN"  # in the environment of the server; without it no token is needed
HEALTH_PATH = "/_stcore/health"  # answers that the server runs, and nothing else
REFUSED = "Open this app by the address that `sth app` printed when it was started: it ends in a token.\n"
COOKIE_FLAGS = "Path=/; HttpOnly; SameSite=Lax"  # until the browser is closed; not sent from other sites' pages
NOT_STORED = {"cache-control": "no-store"}


class Gate:
    """ASGI middleware that refuses requests without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == HEALTH_PATH:
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        _, port = scope.get("server") or ("", "")
        cookie = f"sth_token_{port}"  # a browser sends a host's cookies to all its ports
        if self.is_token(request.cookies.get(cookie, "")):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        elif self.is_token(request.query_params.get("token", "")):
            headers = NOT_STORED | {"set-cookie": f"{cookie}={self.token}; {COOKIE_FLAGS}"}
            await RedirectResponse(without_token(request), 303, headers)(scope, receive, send)
        else:
            await PlainTextResponse(REFUSED, 403, NOT_STORED)(scope, receive, send)

    def is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def without_token(request: HTTPConnection) -> str:
    """The requested address without the token, so that it can be copied."""
    rest = request.url.remove_query_params("token").query
    path = quote("/" + request.scope["path"].lstrip("/"))  # "//host" would lead to another host
    return f"{path}?{rest}" if rest else path
