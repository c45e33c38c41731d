"""A visitor of the served app that is no browser: it speaks Streamlit's protocol, so that many cost little."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

SECONDS = 120.0  # that a page may take: the machine may be a busy one


@contextmanager
def connected(base: str, *, origin: str | None = None, cookie: str = "") -> Iterator[ClientConnection]:
    """The socket through which a page of `origin`, by default the app's own, uses the app."""
    headers = {"Cookie": cookie} if cookie else {}
    address = f"{base.replace('http', 'ws', 1)}/_stcore/stream"
    with connect(
        address, origin=base if origin is None else origin, additional_headers=headers, subprotocols=["streamlit"],
        max_size=None, open_timeout=SECONDS,
    ) as socket:  # fmt: skip
        yield socket


def visit(socket: ClientConnection, page: str = "", query: str = "") -> list[ForwardMsg]:
    """All that the app sends until the page's script has ended."""
    asked, answers = BackMsg(), list[ForwardMsg]()
    asked.rerun_script.page_name, asked.rerun_script.query_string = page, query
    socket.send(asked.SerializeToString())
    while not answers or answers[-1].WhichOneof("type") != "script_finished":
        answers.append(ForwardMsg.FromString(socket.recv(timeout=SECONDS)))
    return answers


def texts(answers: list[ForwardMsg]) -> list[str]:
    """The texts of a page as a reader sees them."""
    elements = [answer.delta.new_element for answer in answers if answer.WhichOneof("type") == "delta"]
    found = [element.markdown.body or element.alert.body or element.heading.body for element in elements]
    return [text.replace("\\", "") for text in found if text]


def session_id(answers: list[ForwardMsg]) -> str:
    (started,) = (answer.new_session for answer in answers if answer.WhichOneof("type") == "new_session")
    return started.initialize.session_id


def cookie_of(printed: str) -> str:
    """The cookie that a browser gets from the printed address."""
    parts = urlsplit(printed)
    return f"sth_token_{parts.port}={parts.query.removeprefix('token=')}"


def xsrf_of(base: str, cookie: str) -> str:
    """The value that a browser sends twice with an upload, as a cookie and as a header."""
    with urlopen(Request(f"{base}/_stcore/health", headers={"Cookie": cookie})) as answer:
        return str(answer.headers["set-cookie"]).split(";")[0].removeprefix("_streamlit_xsrf=")
