"""Whether the tests notice small errors in the code: each is made in a copy of a module, and that module's tests run.

\b
    sth benchmark mutants                                       60 mutants of each of 32 modules
    sth benchmark mutants --modules 'sampling|transforms' --count 1000

A mutant is one small change: of an operator, a comparison, a constant, an argument, a condition, a statement, a bound.
It is killed if a test fails, or does not end in time. Only tests that run the changed statement are run, the fastest
first. Mutants that no test can notice are listed in benchmarks/equivalent_mutants.toml, with the reason. Nothing in
this repository is changed.
"""

import os
import random
import re
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.measuring import machine, print_head, print_row
from benchmarks.mutant_tests import PASSED
from benchmarks.mutant_workers import Tests, Workers, measure_tests, prepare, together
from benchmarks.mutations import Mutant, mutants
from sth_core.errors import UserError

REPOSITORY = Path(__file__).parent.parent
EQUIVALENT = "equivalent_mutants.toml"
TESTS = {  # of each module, the files tests/test_NAME.py
    "analysis/statistics/accuracy.py": "accuracy intervals tables_of_predictions correctness direction",
    "analysis/statistics/calibration.py": "tables_of_predictions correctness",
    "analysis/statistics/confusion.py": "tables_of_predictions correctness",
    "analysis/statistics/fusion.py": "fused_numbers evaluation not_finite",
    "analysis/statistics/results.py": "tables_of_predictions correctness direction evaluation",
    "analysis/statistics/clusters.py": "intervals hypotheses compare_runs",
    "analysis/statistics/correlations.py": "intervals",
    "analysis/statistics/effects.py": "intervals hypotheses",
    "analysis/statistics/shares.py": "intervals accuracy compare_runs",
    "analysis/explain/gradcam.py": "gradcam",
    "analysis/explain/alpha_replacement.py": "interventions not_finite",
    "analysis/attention/conditions.py": "conditions hypotheses",
    "analysis/attention/hypotheses.py": "hypotheses conditions",
    "sth_core/evaluation.py": "evaluation shared_evaluation training_clips not_finite",
    "sth_core/trainer.py": "trainer training training_folder shared_evaluation not_finite",
    "sth_core/distributed.py": "shared_evaluation process_groups out_of_memory",
    "sth_core/training_clips.py": "training_clips training_folder",
    "sth_core/video/transforms.py": "transforms sampling checkpoint",
    "sth_core/video/sampling.py": "sampling positions",
    "sth_core/sth_conv.py": "sth_conv initialisation baselines shapes pretrained",
    "sth_core/convolution.py": "sth_conv baselines gradcam kernels",
    "sth_core/inference.py": "network baselines kernels",
    "sth_core/forms.py": "kernels network",
    "sth_core/gpu_conv.py": "kernels",
    "sth_core/kernels.py": "kernels",
    "sth_core/precision.py": "precision kernels",
    "sth_core/network.py": "network initialisation complexity arguments",
    "sth_core/datasets/splits.py": "assigned_splits datasets found",
    "sth_core/resumable.py": "resumable overwriting",
    "workbench/access.py": "access",
    "workbench/roots.py": "serving access",
    "workbench/uploads.py": "uploads upload_process",
}


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
            measured = measure_tests(workers, root, files, table)
            for path, of_module in table.items():
                print(f"{path} ({len(scores) + 1}/{len(table)}, {time.monotonic() - began:.0f} s)", file=sys.stderr)
                chosen = sample(mutants(path, (root / path).read_text(encoding="utf-8")), count, seed)
                scores[path] = judge_module(workers, chosen, together(measured[file] for file in of_module), listed)
                show_survivors(scores[path])
        finally:
            workers.close()
    return scores, measured


@click.command(help=__doc__)
@click.option("--modules", default=".", help="A regular expression that a module's path contains; by default all.")
@click.option("--count", default=60, show_default=True, type=click.IntRange(1), help="At most so many of a module.")
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
    show_table(*judge(REPOSITORY, table, listed, count=count, seed=seed, jobs=jobs))
    print(f"\n--count {count} --seed {seed}; {machine()}, {jobs} jobs, {(time.monotonic() - began) / 60:.0f} minutes")


def show_survivors(score: Score) -> None:
    """As changed lines."""
    for mutant in score.survived:
        print(f"\n{mutant.diff()}", flush=True)
    for text in score.wrongly_listed:
        print(f"\nlisted as equivalent, but a test fails: {text}", flush=True)


def show_table(scores: dict[str, Score], measured: dict[str, Tests]) -> None:
    """A row per module, and which tests were left out."""
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
