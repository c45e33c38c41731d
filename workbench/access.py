"""Who may use the app: on this machine everyone; from others, who has the token that `sth app --host` printed.

A browser that opens an address with the token is given a cookie for it, so that a page can be loaded again or opened in
a second tab. Without one, nothing of the server answers: no page, no upload, no picture.
"""

import hmac
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN = "STH_TOKEN"  # in the environment of the server; none: no token is asked for
OPEN = "/_stcore/health"  # says that the server is there, and nothing else
REFUSED = "Open this app by the address that `sth app` printed when it was started: it ends in a token.\n"
KEPT = "Path=/; HttpOnly; SameSite=Lax"  # by the browser until it is closed, and not for other sites' pages
NOT_STORED = {"cache-control": "no-store"}


class Gate:
    """ASGI middleware that lets nobody through without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == OPEN:
            await self.app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        cookie = (
            f"sth_token_{(scope.get('server') or ('', ''))[1]}"  # a browser shows a host's cookies at all its ports
        )
        if self.knows(asked.cookies.get(cookie, "")):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        elif self.knows(asked.query_params.get("token", "")):
            kept = NOT_STORED | {"set-cookie": f"{cookie}={self.token}; {KEPT}"}
            await RedirectResponse(without_token(asked), 303, kept)(scope, receive, send)
        else:
            await PlainTextResponse(REFUSED, 403, NOT_STORED)(scope, receive, send)

    def knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def without_token(asked: HTTPConnection) -> str:
    """The address that was asked for, which may be copied to others."""
    rest = asked.url.remove_query_params("token").query
    return quote(f"/{asked.scope['path'].lstrip('/')}") + (f"?{rest}" if rest else "")  # "//host" would lead elsewhere
