"""Who may use the app: a browser that has opened the address with the token, on pages that the app itself serves.

A browser that opens that address gets a cookie, so that pages can be reloaded and opened in other tabs. Without token
and cookie the server refuses every request. It also refuses what another website sends, also one on another port of
this machine, to which a browser sends the cookie too; and every name of this machine that it was not told.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEALTH_PATH = "/_stcore/health"  # answers that the server runs, and nothing else
NO_TOKEN = (
    "Open this app by the address that `sth app` printed when it was started: it ends in a token. "
    "If this browser has opened it already, press Enter in the address bar.\n"
)
OTHER_HOST = (
    "This app is not served at {}. If that address leads to it, start `sth app` with --origin and the address.\n"
)
OTHER_ORIGIN = "This app answers only its own pages, and this request comes from {}.\n"
COOKIE_FLAGS = "Path=/; HttpOnly; SameSite=Strict"  # until the browser is closed; not sent from other sites' pages
NOT_STORED = {"cache-control": "no-store"}
OWN_PAGES = ("same-origin", "none")  # Sec-Fetch-Site; "none": an address that was typed, or opened from a program
DEFAULT_PORTS = {"http": 80, "https": 443}


class Gate:
    """ASGI middleware that lets through what the app's own pages request in a browser with the token.

    `origins` are the addresses of the app, such as http://localhost:8501. Without a `token` none is needed. `html` is
    the page whose scripts may run.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str], token: str | None, html: str = "") -> None:
        self.app, self.token, self.origins = app, token, {origin.lower() for origin in origins}
        self.hosts = {host for origin in self.origins for host in hosts_of(origin)}
        self.headers = security_headers(self.origins, html)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self.answer(HTTPConnection(scope))
        if refusal is None:
            await self.app(scope, receive, self.with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        else:
            await refusal(scope, receive, self.with_headers(send))

    def answer(self, request: HTTPConnection) -> Response | None:
        """What is answered instead of the app; None if the request may go on to it."""
        if sentence := self.not_own(request):
            return PlainTextResponse(sentence, 403, NOT_STORED)
        is_page = request.scope["type"] == "http"
        cookie = f"sth_token_{request.scope.get('server', ('', ''))[1]}"  # a browser sends a host's to all its ports
        if self.token is None or self.is_token(request.cookies.get(cookie, "")):
            return None
        if is_page and request.scope["path"] == HEALTH_PATH:
            return None
        if is_page and self.is_token(request.query_params.get("token", "")):
            headers = NOT_STORED | {"set-cookie": f"{cookie}={self.token}; {COOKIE_FLAGS}"}
            return RedirectResponse(without_token(request), 303, headers)
        # After a link on another site the browser leaves the cookie out; it sends it if this page opens itself again.
        again = {"refresh": "0"} if request.headers.get("sec-fetch-site") == "cross-site" else {}
        return PlainTextResponse(NO_TOKEN, 403, NOT_STORED | again)

    def not_own(self, request: HTTPConnection) -> str:
        """Why the request is none of the app's own pages, in a sentence; empty if it is."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host.lower() not in self.hosts:  # also a name of somebody else's that leads to this machine
            return OTHER_HOST.format(host or "an unnamed host")
        reads = request.scope["type"] == "http" and request.scope["method"] in ("GET", "HEAD")
        if origin is None and reads:
            kind = {name: request.headers.get(f"sec-fetch-{name}", "") for name in ("site", "mode", "dest")}
            opens_page = kind["mode"] == "navigate" and kind["dest"] == "document"
            own = not kind["site"] or kind["site"] in OWN_PAGES or opens_page
            return "" if own else OTHER_ORIGIN.format("another one")
        if origin is None or origin.lower() not in self.origins:
            return OTHER_ORIGIN.format(origin or "no page")
        return ""

    def is_token(self, given: str) -> bool:
        expected = (self.token or "").encode()
        return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected)

    def with_headers(self, send: Send) -> Send:
        """A `send` that adds the security headers to every response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        return send_with_headers


def without_token(request: HTTPConnection) -> str:
    """The requested address without the token, so that it can be copied."""
    rest = request.url.remove_query_params("token").query
    path = quote("/" + request.scope["path"].lstrip("/"))  # "//host" would lead to another host
    return f"{path}?{rest}" if rest else path


def hosts_of(origin: str) -> list[str]:
    """The Host headers of requests to an origin: with its port, and without if the scheme implies it."""
    parts = urlsplit(origin)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    default = DEFAULT_PORTS.get(parts.scheme)
    port = parts.port or default
    return [f"{name}:{port}", *[name] * (port == default)]


def security_headers(origins: Iterable[str], html: str) -> dict[str, str]:
    """Headers of every response: what the pages may load, and that no other page may embed or read them."""
    inline = [sha256(script.encode()).digest() for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)]
    sockets = [f"ws{origin.removeprefix('http')}" for origin in sorted(origins)]  # also wss for https
    allowed = {
        "default-src": ["'self'"],
        # Streamlit runs the scripts of components from blobs.
        "script-src": ["'self'", "blob:", *(f"'sha256-{b64encode(digest).decode()}'" for digest in inline)],
        "style-src": ["'self'", "'unsafe-inline'"],  # Streamlit and Plotly set styles by script
        "img-src": ["'self'", "data:", "blob:"],
        "media-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "connect-src": ["'self'", *sockets],
        "worker-src": ["'self'", "blob:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
    return {
        "content-security-policy": "; ".join(f"{name} {' '.join(sources)}" for name, sources in allowed.items()),
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
