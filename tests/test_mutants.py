"""`sth benchmark mutants` on a module of a few lines, and the changes that it makes."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.mutant_workers import measure_tests
from benchmarks.mutants import REPOSITORY, judge
from benchmarks.mutations import mutants

MODULE = '''"""Values: 1 + 1."""


def larger(a: int = 3, b: int = 4) -> int:
    """At least a."""
    if a < b:
        return b
    return a


def never_called(a: int) -> int:
    return a + 1
'''
TEST = """from small import larger


def test_larger() -> None:
    assert [larger(1, 2), larger(2, 1), larger(), larger(5)] == [2, 2, 4, 5]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one module and one test, with the benchmarks of this one."""
    root = tmp_path / "small"
    (root / "tests").mkdir(parents=True)
    (root / "small.py").write_text(MODULE)
    (root / "tests" / "test_small.py").write_text(TEST)
    shutil.copytree(REPOSITORY / "benchmarks", root / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_mutants_are_killed_if_a_test_runs_and_sees_them_and_nothing_is_changed(repository: Path) -> None:
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    equal = {("small.py", "if a < b:", "if (a <= b):"): "the larger of two equal numbers is either of them"}
    table = {"small.py": ["tests/test_small.py"]}
    scores, measured = judge(repository, table, equal, count=100, seed=0, jobs=1)
    score = scores["small.py"]
    assert [mutant.now for mutant in score.survived] == [
        "def larger(a: int = 4, b: int = 4) -> int:",  # 4 is still the larger one
        "def larger(a: int = 2, b: int = 4) -> int:",
        "return (a - 1)",  # no test runs this line
        "return a + 2",
        "return a + 0",
    ]
    assert (score.made, score.equivalent, score.wrongly_listed) == (9, 1, [])
    assert score.killed == 3 and score.share == 3 / 8
    assert not measured["tests/test_small.py"].left_out
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_the_lines_that_tests_run_are_kept_for_the_modules_that_were_traced_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    traced: list[str] = []

    def measured(paths: list[str]) -> dict[str, set[int]]:
        def ask(files: list[str], trace: bool) -> dict[str, Any]:
            assert trace
            traced.extend(paths)
            lines = {str(repository / path): [1, 2] for path in paths}
            return {"seconds": {f"{files[0]}::test": 0.1}, "failed": [], "lines": {f"{files[0]}::test": lines}}

        worker = SimpleNamespace(copy=repository, ask=ask)
        workers: Any = SimpleNamespace(map=lambda task, values: [task(worker, value) for value in values])
        found = measure_tests(workers, repository, ["tests/test_small.py"], paths)
        return found["tests/test_small.py"].lines["tests/test_small.py::test"]

    assert measured(["other.py"]) == {"other.py": {1, 2}}
    assert measured(["small.py"]) == measured(["small.py"]) == {"small.py": {1, 2}}
    assert traced == ["other.py", "small.py"]  # the third time it was kept


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("x = f(a, b, k=1)", ["x = f(b, a, k=1)", "x = f(a, b)", "x = f(a, b, k=2)", "x = f(a, b, k=0)"]),
        ("x = min(a)[n:]", ["x = min(a)[n + 1:]", "x = max(a)[n:]"]),
        ("x = m.mean(0.5)", ["x = m.sum(0.5)", "x = m.mean(0.55)", "x = m.mean(0.45)"]),
        ("x = a and not b", ["x = (a or not b)", "x = (not b)", "x = a", "x = a and b"]),
        ("x = a or 'ab'", ["x = (a and 'ab')", "x = 'ab'", "x = a", "x = a or 'abx'"]),
        ("x = (n + 1) // 2", ["x = (-(-(n + 1) // 2))", "x = ((n - 1)) // 2", "x = (n + 2) // 2", "x = (n + 0) // 2",
                              "x = (n + 1) // 3", "x = (n + 1) // 1"]),
        ("x: int = y  # é + 1", []),
        ("x = f'{a + 1} of {b}'", []),
        ("'a sentence'", []),
        ("raise ValueError('a' + b)", ["pass"]),
    ],
)  # fmt: skip
def test_the_changes_of_a_line(line: str, changed: list[str]) -> None:
    assert [mutant.source for mutant in mutants("a.py", line)] == changed
