"""`sth app`: which folders it may read, and who gets in."""

import os
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from sth_core.errors import UserError
from tests.forked import ROOT
from workbench.cli import main
from workbench.roots import allowed_roots, may_read, resolve_inside

snicaddr = namedtuple("snicaddr", ["family", "address"])


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


@pytest.mark.parametrize("given", ["{a}", ":{a}", "{a}:", ":{a}:", "::{a}"])
def test_an_empty_root_is_none_and_not_the_working_folder(given, roots, tmp_path, monkeypatch):
    monkeypatch.setenv("STH_RUNS", str(roots[0]))
    monkeypatch.setenv("STH_ROOTS", given.format(a=roots[1]))
    monkeypatch.chdir(tmp_path / "outside")
    assert allowed_roots() == roots
    monkeypatch.setenv("STH_ROOTS", "")
    assert allowed_roots() == roots[:1]
    with pytest.raises(UserError, match="lies outside"):
        resolve_inside(tmp_path / "outside" / "x", allowed_roots())


def test_what_a_run_names_is_read_inside_the_roots_alone_if_some_are_given(roots, tmp_path, monkeypatch):
    monkeypatch.setenv("STH_RUNS", str(roots[0]))
    (roots[1] / "out").symlink_to(tmp_path / "outside")
    inside = [roots[0] / "a.mp4", roots[1] / "set" / "a.mp4", roots[1] / "out" / ".." / "data" / "a.mp4"]
    outside = [tmp_path / "a.mp4", roots[1] / "out" / "a.mp4", roots[1] / ".." / "a.mp4", f"{roots[1]}2/a.mp4"]
    monkeypatch.setenv("STH_ROOTS", "")
    assert all(may_read(path) for path in (*inside, *outside))
    monkeypatch.setenv("STH_ROOTS", str(roots[1]))
    assert [may_read(path) for path in inside] == [True] * 3 and not any(may_read(path) for path in outside)


def served(monkeypatch: pytest.MonkeyPatch, *options: Any) -> tuple[str, list[str], dict[str, str]]:
    """What `sth app` prints, and the flags and environment that it starts the server with."""
    started: list[str] = []
    monkeypatch.setattr("workbench.serve.check_address", lambda host, port: None)  # of hosts that are not this one
    monkeypatch.setattr(os, "execv", lambda _, command: started.extend(command))
    monkeypatch.setattr(os, "chdir", lambda _: None)
    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    result = CliRunner().invoke(main, ["app", *map(str, options)])
    return result.output, started, environment


def test_by_default_the_app_is_this_machines_alone(tmp_path, monkeypatch):
    _, flags, environment = served(monkeypatch, tmp_path / "runs")
    assert environment["STH_ORIGINS"] == "http://localhost:8501 http://127.0.0.1:8501"
    assert environment["STH_NEEDS_TOKEN"] and not served(monkeypatch, tmp_path, "--no-token")[2]["STH_NEEDS_TOKEN"]
    for flag in ("server.address=127.0.0.1", "browser.serverAddress=localhost", "server.maxUploadSize=200"):
        assert f"--{flag}" in flags
    assert (environment["MALLOC_ARENA_MAX"], environment["ARROW_DEFAULT_MEMORY_POOL"]) == ("2", "system")
    assert "--server.enableXsrfProtection=true" in flags and "--server.enableCORS=true" in flags
    assert [flag for flag in flags if "allowedOrigins" in flag] == [
        "--client.allowedOrigins=http://localhost:8501", "--client.allowedOrigins=http://127.0.0.1:8501",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "origin"),
    [("192.0.2.7", "http://192.0.2.7:8501"), ("2001:db8::7", "http://[2001:db8::7]:8501"), ("lab", "http://lab:8501")],
)
def test_another_host_is_served_by_that_name_alone_and_by_what_a_proxy_calls_it(host, origin, tmp_path, monkeypatch):
    proxy = ("--origin", "https://lab.example.org", "--origin", "http://localhost:9000")
    _, flags, environment = served(monkeypatch, tmp_path, "--host", host, "--max-upload", 5, *proxy)
    assert environment["STH_ORIGINS"].split() == [origin, proxy[1], proxy[3]] and environment["STH_NEEDS_TOKEN"]
    assert f"--server.address={host}" in flags and "--server.maxUploadSize=5" in flags


def test_at_all_addresses_the_app_has_every_name_of_this_machine_and_no_other(tmp_path, monkeypatch):
    interface = {"eth0": [snicaddr(socket.AF_INET, "192.0.2.7"), snicaddr(socket.AF_INET6, "fe80::1%eth0")]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interface | {"lo": [snicaddr(socket.AF_PACKET, "00:00")]})
    monkeypatch.setattr(socket, "gethostname", lambda: "lab")
    _, _, environment = served(monkeypatch, tmp_path, "--host", "0.0.0.0", "--port", 80)
    names = ["lab", "lab.local", "localhost", "127.0.0.1", "192.0.2.7", "[fe80::1]"]
    assert environment["STH_ORIGINS"].split() == [f"http://{name}" for name in names]


@pytest.mark.parametrize(
    "origin", ["lab.example.org", "https://lab/path", "*", "http://*.org", "file:///x", "http://a b"]
)
def test_what_is_no_origin_is_refused(origin, tmp_path, monkeypatch):
    said, flags, _ = served(monkeypatch, tmp_path, "--origin", origin)
    assert said.startswith(f"sth: --origin {origin} is no address such as") and not flags


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


def test_the_folders_that_the_app_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("STH_RUNS", "STH_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    assert allowed_roots() == [tmp_path / "demo" / "runs"]
    monkeypatch.setenv("STH_RUNS", "runs")
    monkeypatch.setenv("STH_ROOTS", os.pathsep.join(["/one", "", "/two"]))
    assert allowed_roots() == [tmp_path / "runs", Path("/one"), Path("/two")]


def test_the_app_is_the_one_beside_the_package_also_where_the_package_is_a_link(tmp_path):
    (tmp_path / "workbench").symlink_to(ROOT / "workbench")
    code = "import workbench.serve as serve; print(serve.SERVER, serve.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    server, imported = map(Path, done.stdout.split())
    assert imported.is_relative_to(tmp_path) and (server.parents[1] / "app.py").is_file()
