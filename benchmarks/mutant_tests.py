"""Runs tests of a copy of the repository again and again, each time in a process forked from one that has imported
PyTorch, pytest and what else they need, but no module of the repository.

    python -m benchmarks.mutant_tests    a request in JSON on each line of the input, an answer on each of the output
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutant_lines import record_lines, take_lines

PASSED, FAILED, TOO_LONG = "passed", "failed", "too long"
OPTIONS = ("-x", "-p", "no:xdist", "-p", "no:warnings", "-m", "not browser and not real_data")
Lines = dict[str, list[int]]  # {file: lines}


class ChosenTests:
    """A pytest plugin: these tests, in this order (empty: all, as they come); the synthetic clips are made already."""

    def __init__(self, chosen: list[str], scenes: Path, traced: bool) -> None:
        self.place = {name: i for i, name in enumerate(chosen)}
        self.scenes, self.traced = scenes, traced
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.lines: dict[str, Lines] = {}
        self.fixture_lines: dict[tuple[str, str], dict[str, set[int]]] = {}
        self.pending: dict[str, set[int]] = {}  # lines of the running test

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.place:
            items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda i: self.place[i.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[Any]:
        """Lines that a fixture of several tests runs count for all of these tests."""
        if not self.traced or fixturedef.scope == "function":
            return (yield)
        self.pending = merge(self.pending, take_lines())
        try:
            return (yield)
        finally:
            self.fixture_lines[fixturedef.baseid, fixturedef.argname] = take_lines()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        if not self.traced:
            return (yield)
        take_lines()
        self.pending = {}
        result = yield
        found = merge(self.pending, take_lines())
        names = set(getattr(item, "fixturenames", ()))
        for (base, name), lines in self.fixture_lines.items():
            if name in names and item.nodeid.startswith(base):
                found = merge(found, lines)
        self.lines[item.nodeid] = {file: sorted(numbers) for file, numbers in found.items()}
        return result


class MadeScenes:
    """A pytest plugin: the fixture `scenes_folder` is a folder that was made before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Path | None:
        if fixturedef.argname != "scenes_folder" or not self.folder.is_dir():
            return None
        fixturedef.cached_result = (self.folder, fixturedef.cache_key(request), None)
        return self.folder


def merge(a: dict[str, set[int]], b: dict[str, set[int]]) -> dict[str, set[int]]:
    return {file: a.get(file, set()) | b.get(file, set()) for file in a.keys() | b.keys()}


def run_tests(request: dict[str, Any], out: Path) -> int:
    """In the child: pytest on the request's tests; what it found is written to `out`."""
    work, traced = Path(request["work"]), bool(request.get("trace"))
    if traced:
        os.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent / "traced")
        record_lines()
    plugin = ChosenTests(request.get("tests") or [], work / "scenes", traced)
    base = work / "pytest"
    files = list(dict.fromkeys(name.partition("::")[0] for name in request.get("tests") or request["files"]))
    options = [option for option in OPTIONS if option != "-x" or not traced]
    collect = ["--collect-only"] if request.get("collect") else []
    plugins, code = [plugin, MadeScenes(plugin.scenes)], 0
    for i, names in enumerate([files] if collect else [[file] for file in files]):  # the next if nothing failed
        code = int(pytest.main([*options, *collect, f"--basetemp={base}-{i}", *names], plugins=plugins))
        shutil.rmtree(f"{base}-{i}", ignore_errors=True)
        if code:
            break
    found: dict[str, Any] = {"seconds": plugin.seconds, "failed": plugin.failed, "lines": plugin.lines}
    if collect:
        found["modules"] = sorted(name for name, module in sys.modules.items() if is_foreign(module))
    out.write_text(json.dumps(found), encoding="utf-8")
    return code


def is_foreign(module: object) -> bool:
    """Whether a module is no part of the copied repository."""
    file = getattr(module, "__file__", None)
    return file is not None and not Path(file).is_relative_to(Path.cwd())


def in_child(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, run the request's tests in the child, and say how they ended."""
    work = Path(request["work"])
    out, said = work / "found.json", work / "said.txt"
    out.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            code = run_tests(request, out)
        finally:
            sys.stdout.flush()
            os._exit(code)
    ended = wait(child, began + request["limit"])
    found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    outcome = TOO_LONG if ended is None else PASSED if ended == 0 else FAILED
    tail = "" if outcome == PASSED else said.read_text(encoding="utf-8", errors="replace")[-3000:]
    return {"outcome": outcome, "code": ended, "took": time.monotonic() - began, "said": tail} | found


def wait(child: int, until: float) -> int | None:
    """The exit code of a child; None if it does not end in time. What it started is ended in either case."""
    code = None
    try:
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code
            time.sleep(0.01)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if code is None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def import_quietly(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):
            import_module(name)


def answer_requests() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "import" in request:
            import_quietly(request["import"])
            answer: dict[str, Any] = {}
        else:
            answer = in_child(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    answer_requests()
