"""Whether the tests notice small errors in the code: each is made in a copy of a module, and that module's tests run.

\b
    sth benchmark mutants                                       80 mutants of each of 24 modules
    sth benchmark mutants --modules 'sampling|transforms' --count 1000

A mutant is one small change: of an operator, a comparison, a constant, an argument, a condition, a statement, a bound.
It is killed if a test fails, or does not end in time. Only tests that run the changed statement are run, the fastest
first. Mutants that no test can notice are listed in benchmarks/equivalent_mutants.toml, with the reason. Nothing in
this repository is changed.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.measuring import machine, print_head, print_row
from benchmarks.mutant_lines import FILES, LOG
from benchmarks.mutant_tests import PASSED
from benchmarks.mutations import Mutant, mutants
from sth_core.errors import UserError

REPOSITORY = Path(__file__).parent.parent
NOT_COPIED = {".git", ".venv", "build", "dist", "demo", "out", "runs"}
SLOWEST = 20.0  # seconds; tests that take longer are left out
EQUIVALENT = "equivalent_mutants.toml"
TESTS = {  # of each module, the files tests/test_NAME.py
    "analysis/statistics/accuracy.py": "accuracy correctness direction not_finite",
    "analysis/statistics/calibration.py": "correctness accuracy",
    "analysis/statistics/confusion.py": "correctness accuracy",
    "analysis/statistics/fusion.py": "evaluation",
    "analysis/statistics/results.py": "correctness direction evaluation",
    "analysis/statistics/uncertainty.py": "uncertainty hypotheses compare_runs",
    "analysis/explain/gradcam.py": "gradcam",
    "analysis/explain/alpha_replacement.py": "interventions",
    "analysis/attention/hypotheses.py": "hypotheses conditions",
    "sth_core/evaluation.py": "evaluation shared_evaluation training_clips not_finite",
    "sth_core/trainer.py": "training training_folder shared_evaluation not_finite",
    "sth_core/distributed.py": "shared_evaluation training",
    "sth_core/training_clips.py": "training_clips training_folder",
    "sth_core/video/transforms.py": "transforms sampling checkpoint",
    "sth_core/video/sampling.py": "sampling",
    "sth_core/sth_conv.py": "sth_conv initialisation shapes pretrained",
    "sth_core/convolution.py": "sth_conv baselines gradcam",
    "sth_core/inference.py": "network baselines",
    "sth_core/network.py": "network initialisation complexity",
    "sth_core/datasets/splits.py": "datasets found",
    "sth_core/resumable.py": "resumable overwriting",
    "workbench/access.py": "access",
    "workbench/roots.py": "serving access",
    "workbench/uploads.py": "uploads",
}


@dataclass
class Tests:
    """The tests of some files that pass on the unchanged code: their seconds, and the lines that each of them runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, mutant: Mutant) -> list[str]:
        """Those that run the mutant's statement, the fastest file first, and in it the fastest test."""
        wanted = None if mutant.lines is None else set(range(mutant.lines[0], mutant.lines[1] + 1))
        of_file = {name: lines.get(mutant.path, set()) for name, lines in self.lines.items()}
        chosen = [name for name, lines in of_file.items() if (lines if wanted is None else lines & wanted)]
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


def measure_tests(workers: Workers, files: list[str]) -> dict[str, Tests]:
    """{file: its tests}; those that fail on the unchanged code or are slow are left out."""

    def measure(worker: Worker, file: str) -> Tests:
        found = worker.ask(files=[file], trace=True)
        tests = Tests()
        for name, seconds in found.get("seconds", {}).items():
            if name in found["failed"]:
                tests.left_out[name] = "fails on the unchanged code"
            elif seconds > SLOWEST:
                tests.left_out[name] = f"takes {seconds:.0f} s"
            elif name in found["lines"]:
                tests.seconds[name] = seconds
                of_test = found["lines"][name].items()
                tests.lines[name] = {str(Path(path).relative_to(worker.copy)): set(n) for path, n in of_test}
        if not tests.seconds:
            tests.left_out[file] = f"no test passes on the unchanged code ({found['said'][-300:]})"
        return tests

    return dict(zip(files, workers.map(measure, files), strict=True))


def together(tests: Iterable[Tests]) -> Tests:
    """The tests of several files."""
    found = Tests()
    for of_file in tests:
        found.seconds |= of_file.seconds
        found.lines |= of_file.lines
    return found


def equivalents(file: Path) -> dict[tuple[str, str, str], str]:
    """{(file, line before, line after): why no test can notice the change}."""
    listed = tomllib.loads(file.read_text(encoding="utf-8")).get("equivalent", []) if file.is_file() else []
    return {(one["file"], one["was"], one["now"]): one["why"] for one in listed}


def sample(found: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """At most `count` mutants of a file, in order."""
    if len(found) <= count:
        return found
    chosen = random.Random(f"{seed} {found[0].path}").sample(range(len(found)), count)
    return [found[i] for i in sorted(chosen)]


@dataclass
class Score:
    """Of one module."""

    made: int
    killed: int = 0
    equivalent: int = 0
    survived: list[Mutant] = field(default_factory=list)
    wrongly_listed: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.killed / max(1, self.made - self.equivalent)


def judge_module(
    workers: Workers, chosen: list[Mutant], tests: Tests, listed: dict[tuple[str, str, str], str]
) -> Score:
    score = Score(len(chosen))
    judged = workers.map(lambda worker, mutant: worker.judge(mutant, tests), chosen)
    for mutant, answer in zip(chosen, judged, strict=True):
        killed = answer["outcome"] != PASSED
        if (mutant.path, mutant.was, mutant.now) in listed:
            score.equivalent += 1
            if killed:
                score.wrongly_listed.append(f"{mutant.diff()}\n{answer.get('failed')}")
        elif killed:
            score.killed += 1
        else:
            score.survived.append(mutant)
    return score


def judge(
    root: Path,
    table: dict[str, list[str]],
    listed: dict[tuple[str, str, str], str],
    *,
    count: int,
    seed: int,
    jobs: int,
) -> tuple[dict[str, Score], dict[str, Tests]]:
    """The score of each module of `table`, {module: its test files}, of the repository `root`; and the tests of each
    file. `listed` are its `equivalents`."""
    files, began = list(dict.fromkeys(file for of_module in table.values() for file in of_module)), time.monotonic()
    scores: dict[str, Score] = {}
    with TemporaryDirectory(prefix="sth-mutants-") as place:
        workers = Workers(Path(place), root, table, jobs)
        try:
            prepare(workers, files)
            measured = measure_tests(workers, files)
            for path, of_module in table.items():
                print(f"{path} ({len(scores) + 1}/{len(table)}, {time.monotonic() - began:.0f} s)", file=sys.stderr)
                chosen = sample(mutants(path, (root / path).read_text(encoding="utf-8")), count, seed)
                scores[path] = judge_module(workers, chosen, together(measured[file] for file in of_module), listed)
        finally:
            workers.close()
    return scores, measured


@click.command(help=__doc__)
@click.option("--modules", default=".", help="A regular expression that a module's path contains; by default all.")
@click.option("--count", default=80, show_default=True, type=click.IntRange(1), help="At most so many of a module.")
@click.option("--seed", default=0, show_default=True, help="Which mutants are drawn.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="all cores", type=click.IntRange(1))
def main(modules: str, count: int, seed: int, jobs: int) -> None:
    table = {
        path: [f"tests/test_{name}.py" for name in names.split()]
        for path, names in TESTS.items()
        if re.search(modules, path)
    }
    if not table:
        raise UserError(f"--modules {modules!r} is in the path of no module; possible: {', '.join(TESTS)}")
    began = time.monotonic()
    listed = equivalents(REPOSITORY / "benchmarks" / EQUIVALENT)
    show(*judge(REPOSITORY, table, listed, count=count, seed=seed, jobs=jobs))
    print(f"\n--count {count} --seed {seed}; {machine()}, {jobs} jobs, {(time.monotonic() - began) / 60:.0f} minutes")


def show(scores: dict[str, Score], measured: dict[str, Tests]) -> None:
    """The survivors as changed lines, what was left out, and the table."""
    for score in scores.values():
        for mutant in score.survived:
            print(f"\n{mutant.diff()}")
    for score in scores.values():
        for text in score.wrongly_listed:
            print(f"\nlisted as equivalent, but a test fails: {text}")
    for tests in measured.values():
        for name, why in tests.left_out.items():
            print(f"\nleft out: {name} {why}")
    print()
    print_head("module", "mutants", "killed", "equivalent", "survived", "killed of those that are not equivalent")
    for name, score in scores.items():
        print_row(name, score.made, score.killed, score.equivalent, len(score.survived), f"{score.share:.1%}")
    every = scores.values()
    made, killed, equal = sum(s.made for s in every), sum(s.killed for s in every), sum(s.equivalent for s in every)
    survived = sum(len(s.survived) for s in every)
    print_row("all", made, killed, equal, survived, f"{killed / max(1, made - equal):.1%}")
