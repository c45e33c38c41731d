"""`sth app`: which folders it may read, and who gets in."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sth_core.errors import UserError
from workbench.cli import main
from workbench.roots import allowed_roots, resolve_inside


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    for name in ("runs", "data/set", "data2", "outside"):
        (tmp_path / name).mkdir(parents=True)
    return [tmp_path / "runs", tmp_path / "data"]


def test_what_lies_inside_a_root_is_found_also_by_a_link_and_before_it_is_there(roots, tmp_path):
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "data" / "set")
    assert resolve_inside(tmp_path / "runs" / "link", roots) == tmp_path / "data" / "set"
    assert resolve_inside(str(tmp_path / "runs" / ".." / "data"), roots) == tmp_path / "data"
    assert resolve_inside(tmp_path / "runs" / "new", roots) == tmp_path / "runs" / "new"


def test_a_root_that_is_a_link_is_the_folder_it_points_to(roots, tmp_path):
    (tmp_path / "root").symlink_to(tmp_path / "outside")
    assert resolve_inside(tmp_path / "root" / "x", [tmp_path / "root"]) == tmp_path / "outside" / "x"


@pytest.mark.parametrize(
    "path",
    [
        "data/../outside",
        "data/../../..",
        "data2",
        "data2/no such file",
        "data/out",
        "data/out/x",
        "data/circle",
        "a\0b",
    ],
)
def test_what_leads_out_of_the_roots_is_refused_and_the_roots_are_named(path, roots, tmp_path):
    (tmp_path / "data" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data" / "circle")
    with pytest.raises(UserError, match=f"{tmp_path / 'runs'}, {tmp_path / 'data'}$"):
        resolve_inside(f"{tmp_path}/{path}", roots)


@pytest.mark.parametrize("path", ["", "data/set", "~/data", "file:///etc/passwd"])
def test_a_path_that_is_not_absolute_is_refused(path, roots):
    with pytest.raises(UserError, match="no absolute path"):
        resolve_inside(path, roots)


def served(monkeypatch: pytest.MonkeyPatch, *options: Any) -> tuple[str, list[str], dict[str, str]]:
    """What `sth app` prints, and the flags and environment that it starts the server with."""
    started: list[str] = []
    monkeypatch.setattr("workbench.serve.check_address", lambda host, port: None)  # of hosts that are not this one
    monkeypatch.setattr(os, "execv", lambda _, command: started.extend(command))
    monkeypatch.setattr(os, "chdir", lambda _: None)
    environment = dict(os.environ) | {"STH_TOKEN": "of another server"}
    monkeypatch.setattr(os, "environ", environment)
    result = CliRunner().invoke(main, ["app", *map(str, options)])
    return result.output, started, environment


def test_by_default_the_app_is_this_machines_alone(tmp_path, monkeypatch):
    _, flags, environment = served(monkeypatch, tmp_path / "runs")
    assert environment["STH_ADDRESS"] == "http://localhost:8501" and "STH_TOKEN" not in environment
    for flag in ("server.address=127.0.0.1", "server.allowedHosts=localhost", "server.maxUploadSize=200"):
        assert f"--{flag}" in flags
    assert "--server.enableXsrfProtection=true" in flags and "--server.enableCORS=true" in flags


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "2001:db8::7"])
def test_another_host_needs_a_token_which_is_printed_once(host, tmp_path, monkeypatch):
    _, flags, environment = served(monkeypatch, tmp_path, "--host", host, "--max-upload", 5)
    token, address = environment["STH_TOKEN"], environment["STH_ADDRESS"]
    assert len(token) >= 40 and address.endswith(f":8501/?token={token}")
    assert f"--server.address={host}" in flags and "--server.maxUploadSize=5" in flags
    assert not any(token in flag for flag in flags)
    assert ("[2001:db8::7]:8501" in address) == (":" in host)


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.1", "port {port} is taken"), ("192.0.2.7", "this machine cannot listen at")]
)
def test_where_nothing_can_listen_a_sentence_says_so(host, said, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = CliRunner().invoke(main, ["app", str(tmp_path), "--host", host, "--port", str(port)])
    assert result.exit_code == 2 and said.format(port=port) in result.output


def test_roots_are_handed_to_the_app_as_they_are(tmp_path, monkeypatch):
    for name in ("a", "b", "c:d"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    roots = ["--root", tmp_path / "a", "--root", tmp_path / "link"]
    _, _, environment = served(monkeypatch, tmp_path / "runs", *roots)
    monkeypatch.setenv("STH_RUNS", environment["STH_RUNS"])
    monkeypatch.setenv("STH_ROOTS", environment["STH_ROOTS"])
    assert allowed_roots() == [tmp_path / "runs", tmp_path / "a", tmp_path / "b"]
    for wrong in ("c:d", "nothing"):
        said, flags, _ = served(monkeypatch, tmp_path / "runs", "--root", tmp_path / wrong)
        assert said.startswith("sth: --root") and not flags
