"""The tests that run a mutant: processes with a copy of the repository each, and which lines each test runs."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.mutant_lines import FILES, LOG
from benchmarks.mutant_tests import PASSED
from benchmarks.mutations import Mutant
from sth_core.errors import UserError
from sth_core.files import cache_folder

NOT_COPIED = {".git", ".venv", "build", "dist", "demo", "out", "runs"}
SLOWEST = 10.0  # seconds; tests that take longer are left out


@dataclass
class Tests:
    """The tests of some files that pass on the unchanged code: their seconds, and the lines that each of them runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, mutant: Mutant) -> list[str]:
        """Those that run the mutant's statement, or all if that runs at the import; the fastest file first."""
        wanted = None if mutant.lines is None else set(range(mutant.lines[0], mutant.lines[1] + 1))
        of_file = {name: lines.get(mutant.path, set()) for name, lines in self.lines.items()}
        chosen = [name for name, lines in of_file.items() if wanted is None or lines & wanted]
        totals: dict[str, float] = {}
        for name in chosen:
            file = name.partition("::")[0]
            totals[file] = totals.get(file, 0.0) + self.seconds[name]
        return sorted(
            chosen, key=lambda name: (totals[name.partition("::")[0]], name.partition("::")[0], self.seconds[name])
        )


class Worker:
    """A copy of the repository, and a process that runs tests there (`benchmarks/mutant_tests.py`)."""

    def __init__(self, place: Path, root: Path, paths: Iterable[str]) -> None:
        self.copy, self.work = place / "repository", place / "work"
        self.work.mkdir(parents=True)
        shutil.copytree(root, self.copy, symlinks=True, ignore=lambda folder, names: not_copied(root, folder, names))
        environment = os.environ | {"PYTHONPATH": str(self.copy), "OMP_NUM_THREADS": "1", LOG: str(self.work / "lines")}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}  # a changed file may have the size and time of the one before
        environment |= {"TRITON_INTERPRET": "1"}  # as tests/conftest.py says, too late here: Triton is imported before
        environment[FILES] = os.pathsep.join(str(self.copy / path) for path in paths)
        command = [sys.executable, "-m", "benchmarks.mutant_tests"]
        pipe = subprocess.PIPE
        subprocess.run([sys.executable, "-m", "compileall", "-q", "."], cwd=self.copy, check=False)
        self.process = subprocess.Popen(command, cwd=self.copy, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        request = {"work": str(self.work), "limit": 600.0} | request
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise UserError("the process that runs the tests has ended; give fewer --jobs if memory is short")
        return json.loads(answer)

    def judge(self, mutant: Mutant, tests: Tests) -> dict[str, Any]:
        """Run the mutant's tests on it."""
        chosen = tests.of(mutant)
        if not chosen:
            return {"outcome": PASSED, "seconds": {}, "failed": []}
        file, original = self.copy / mutant.path, (self.copy / mutant.path).read_text(encoding="utf-8")
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()
        try:
            file.write_text(mutant.source, encoding="utf-8")
            expected = sum(tests.seconds[name] for name in chosen)
            return self.ask(tests=chosen, limit=20 + 4 * expected)
        finally:
            file.write_text(original, encoding="utf-8")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def not_copied(root: Path, folder: str, names: list[str]) -> set[str]:
    """What of a folder is no source: caches, and on the top level what .gitignore names."""
    caches = {name for name in names if name == "__pycache__" or name.endswith(("_cache", ".egg-info"))}
    return caches | (NOT_COPIED & set(names) if Path(folder) == root else set())


class Workers:
    """Some workers, each with one task at a time."""

    def __init__(self, place: Path, root: Path, paths: Iterable[str], jobs: int) -> None:
        self.free: SimpleQueue[Worker] = SimpleQueue()
        self.all = [Worker(place / str(i), root, paths) for i in range(jobs)]
        for worker in self.all:
            self.free.put(worker)
        self.threads = ThreadPoolExecutor(jobs)

    def map(self, task: Any, values: Iterable[Any]) -> Iterable[Any]:
        """`task(worker, value)` of each value, in order."""

        def run(value: Any) -> Any:
            worker = self.free.get()
            try:
                return task(worker, value)
            finally:
                self.free.put(worker)

        return self.threads.map(run, values)

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for worker in self.all:
            worker.close()


def prepare(workers: Workers, files: list[str]) -> None:
    """Import in each worker what tests import, and make the clips of the fixture `scenes_folder`."""
    first = workers.all[0]
    found = first.ask(files=files, collect=True)
    if found["outcome"] != PASSED:
        raise UserError(f"the tests cannot be collected on the unchanged code:\n{found['said']}")
    make = "import sys; from pathlib import Path; from sth_core.datasets.synthetic import synthesize as make; "
    make += "[make(Path(sys.argv[1]), 24, seed=s, split=n, workers=1) for s, n in ((3, 'train'), (4, 'val'))]"
    scenes = first.work / "scenes"
    if any("scenes_folder" in (first.copy / file).read_text(encoding="utf-8") for file in files):
        environment = os.environ | {"PYTHONPATH": str(first.copy)}
        subprocess.run([sys.executable, "-c", make, str(scenes)], cwd=first.copy, env=environment, check=True)
    for worker in workers.all:
        worker.ask(**{"import": found["modules"]})
        if worker is not first and scenes.is_dir():
            shutil.copytree(scenes, worker.work / "scenes")


def measure_tests(workers: Workers, root: Path, files: list[str], paths: Iterable[str]) -> dict[str, Tests]:
    """{file: its tests}, with the lines of the modules `paths` that each test runs; kept from one time to the next
    while the code and these modules are the same."""
    sources = hash_sources(root) + "\n".join(sorted(paths)).encode()
    cache = cache_folder() / "mutants"

    def measure(worker: Worker, file: str) -> Tests:
        key = hashlib.sha256(sources + (root / file).read_bytes()).hexdigest()
        kept = cache / f"{key}.json"
        if not kept.is_file():
            found = worker.ask(files=[file], trace=True)
            of_tests = found.get("lines", {}).items()
            found["lines"] = {
                name: {str(Path(path).relative_to(worker.copy)): lines for path, lines in of_test.items()}
                for name, of_test in of_tests
            }
            cache.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found), encoding="utf-8")
        return usable_tests(file, json.loads(kept.read_text(encoding="utf-8")))

    return dict(zip(files, workers.map(measure, files), strict=True))


def usable_tests(file: str, found: dict[str, Any]) -> Tests:
    """The tests of a file but those that fail on the unchanged code, or are slow."""
    tests = Tests()
    for name, seconds in found.get("seconds", {}).items():
        if name in found["failed"]:
            tests.left_out[name] = "fails on the unchanged code"
        elif seconds > SLOWEST:
            tests.left_out[name] = f"takes {seconds:.0f} s"
        elif name in found["lines"]:
            tests.seconds[name] = seconds
            tests.lines[name] = {path: set(lines) for path, lines in found["lines"][name].items()}
    if not tests.seconds:
        tests.left_out[file] = f"no test passes on the unchanged code ({found['said'][-300:]})"
    return tests


def hash_sources(root: Path) -> bytes:
    """Of all code but the tests themselves."""
    files = [*root.rglob("*.py")]
    kept = [f for f in files if not f.name.startswith("test_") and f.relative_to(root).parts[0] not in NOT_COPIED]
    return b"".join(
        hashlib.sha256(file.read_bytes()).digest() for file in sorted(kept) if "benchmarks" not in file.parts
    )


def together(tests: Iterable[Tests]) -> Tests:
    """The tests of several files."""
    found = Tests()
    for of_file in tests:
        found.seconds |= of_file.seconds
        found.lines |= of_file.lines
    return found
