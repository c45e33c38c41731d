"""Bad inputs: files and arguments with random faults, each given to a command, and what became of it.

\b
    sth benchmark hostile_inputs [--count 500] [--seed 0] [--kind video] [-o FOLDER]

It prints the table of docs/reliability.md, and every fault. A worker process runs many commands one after the other;
after a crash, or one that takes more than a minute or 2 GiB, a new worker goes on. With the same seed, the same cases.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import click
import pandas as pd
import psutil
from click.testing import CliRunner

from benchmarks.hostile_cases import MAKERS, Case, compared, make_case, make_goods
from benchmarks.measuring import machine, peak_resident, print_head, print_row
from sth_core.errors import UserError
from workbench.cli import main as sth
from workbench.cli.kinds import FOLDER

SECONDS, MEMORY = 60, 2 * 2**30
VERDICTS = ("refused", "done", "traceback", "hang", "memory", "crash", "wrong result", "not named", "leftovers")
FAULTS = VERDICTS[2:]


@dataclass(frozen=True)
class Answer:
    """What a command gave: `trace` is the traceback of an error that is no sentence, `peak` its bytes of memory."""

    code: int
    output: str
    trace: str
    peak: int


@dataclass(frozen=True)
class HostileOutcome:
    """A case, and one of VERDICTS: "refused" is one sentence and exit code 2."""

    kind: str
    case: str
    verdict: str
    detail: str
    seconds: float
    peak: int


def trials(seed: int, count: int, folder: Path, kinds: tuple[str, ...] = tuple(MAKERS)) -> Iterator[HostileOutcome]:
    """Make `count` bad inputs in a new folder, give each to a command, and judge what it gave.

    What a fault left behind stays in `folder`/<number>; the rest is removed."""
    folder = folder.absolute()
    goods = make_goods(folder / "goods")
    numbers = (n for n in range(sys.maxsize) if list(MAKERS)[n % len(MAKERS)] in kinds)
    worker = Worker(folder / "home" / "within")
    try:
        for _, number in zip(range(count), numbers, strict=False):
            place = folder / f"{number:05d}"
            case = make_case(goods, place, number, seed)
            outcome = worker.outcome(case)
            yield outcome
            if outcome.verdict not in FAULTS:
                shutil.rmtree(place, ignore_errors=True)
    finally:
        worker.stop()


class Worker:
    """A process that runs commands in an empty folder (`home`: the word ".." must not lead to other files), replaced
    when it does not answer."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.home), daemon=False)
        self.process.start()
        theirs.close()
        self.connection.recv()  # it has imported what commands import

    def stop(self) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            for each in (*process.children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.join()
        self.connection.close()

    def outcome(self, case: Case) -> HostileOutcome:
        began, peak, verdict = time.monotonic(), 0, ""
        self.connection.send(case.words)
        answer: Answer | None = None
        while not verdict:
            try:
                if self.connection.poll(0.05):
                    answer = self.connection.recv()
                    break
            except (EOFError, OSError):
                verdict = "crash"
            peak = max(peak, resident_of(self.process.pid or 0))
            if peak > MEMORY:
                verdict = "memory"
            elif time.monotonic() - began > SECONDS:
                verdict = "hang"
        took = time.monotonic() - began
        if answer is None:
            self.stop()
            self.start()
            return HostileOutcome(case.kind, case.name, verdict, f"after {took:.0f} s", took, peak)
        verdict, detail = judged(case, answer)
        return HostileOutcome(case.kind, case.name, verdict, detail, took, max(peak, answer.peak))


def resident_of(pid: int) -> int:
    """The memory of a process and its children, in bytes. If it seems too much, what they share is counted once, which
    takes the system longer to find out."""
    total = shared_once = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        processes = (process, *process.children(recursive=True))
        for each in processes:
            with suppress(psutil.Error):
                total += each.memory_info().rss
        for each in processes if total > MEMORY else ():
            with suppress(psutil.Error):
                shared_once += each.memory_full_info().pss
    return shared_once or total


def serve(connection: Connection, home: Path) -> None:
    """The worker: an `Answer` for the words of each command."""
    os.chdir(home)
    CliRunner().invoke(sth, ["record", "--help"])
    connection.send("ready")
    while True:
        try:
            words = connection.recv()
        except EOFError:
            return
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        connection.send(answer_of(words))


def answer_of(words: list[str]) -> Answer:
    if words[0] == "notes":
        return read_notes(Path(words[1]))
    result = CliRunner().invoke(sth, words)
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    trace = "".join(traceback.format_exception(result.exception)) if unexpected else ""
    return Answer(result.exit_code, result.output, trace, peak_resident())


def read_notes(folder: Path) -> Answer:
    """What the page *Clip* does with a run's notes."""
    from analysis.runs.notes import notes_table
    from analysis.runs.notes_export import to_csv
    from analysis.runs.notes_file import why_not_kept
    from analysis.runs.run_directory import open_run

    try:
        run = open_run(folder)
        why_not_kept(run)
        return Answer(0, f"{len(notes_table(run))} notes {to_csv(run)}", "", peak_resident())
    except UserError as error:
        return Answer(2, f"sth: {error}", "", peak_resident())
    except Exception:
        return Answer(1, "", traceback.format_exc(), peak_resident())


def judged(case: Case, answer: Answer) -> tuple[str, str]:
    """The verdict on what a command gave, and why."""
    lines = [line for line in answer.output.strip().splitlines() if line.strip()]
    if answer.trace or "Traceback" in answer.output:
        return "traceback", (answer.trace or answer.output).strip().splitlines()[-1]
    if leftovers := [str(path) for path in case.out.parent.rglob("*.part*") if path.suffix != ".parquet"]:
        return "leftovers", ", ".join(leftovers)
    if case.words[0] == "results" and case.like:
        return judged_results(answer.output, case.out, case.like)
    if answer.code == 2:
        said = " ".join(lines)
        return ("refused", said) if "sth: " in said else ("traceback", f"no sentence: {said}")
    if answer.code:
        return "traceback", f"exit code {answer.code}: {' '.join(lines)[-300:]}"
    if case.like and (found := compared_with(case, case.like)):
        return found
    return "done", " ".join(lines)[-300:]


def judged_results(output: str, out: Path, like: Path) -> tuple[str, str]:
    """The sound run's row must be that of the undisturbed table; the damaged run has a row, or is named."""
    if not out.is_file():
        return "wrong result", f"the sound run is not shown: {output[-300:]}"
    expected, got = (pd.read_csv(file) for file in (like, out))
    rows = got[got["run"] == "good"].to_dict("records")
    for name, value in expected.iloc[0].items():
        if not rows or not (rows[0].get(name) == value or (pd.isna(rows[0].get(name)) and pd.isna(value))):
            return "wrong result", f"the sound run has another {name} than without the damaged one"
    if "bad" not in output:
        return "not named", "the damaged run has no row and is not named"
    return "done", ""


def compared_with(case: Case, like: Path) -> tuple[str, str] | None:
    """How a recording differs from the undisturbed one where it must not."""
    expected, got = compared(like), compared(case.out)
    failures = pd.read_parquet(case.out / "failures.parquet")["clip_id"]
    for clip, (file, scores) in expected.items():
        if clip in case.touched:
            if clip not in got and clip not in set(failures):
                return "not named", f"{clip} is neither recorded nor named"
        elif clip in got and got[clip] != (file, scores):
            return "wrong result", f"{clip}: other scores than without the fault"
        elif clip not in got and case.touched and clip not in set(failures):
            return "wrong result", f"{clip} is lost"
    return None


@click.command(help=__doc__)
@click.option("--count", default=500, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(MAKERS)), help="These kinds; by default all.")
@click.option("-o", "--out", type=FOLDER, help="A new folder for the cases; those with a fault stay there.")
def main(count: int, seed: int, kinds: tuple[str, ...], out: Path | None) -> None:
    folder = out or Path(tempfile.mkdtemp(prefix="sth-hostile-"))
    outcomes = []
    for done, outcome in enumerate(trials(seed, count, folder, kinds or tuple(MAKERS)), start=1):
        outcomes.append(outcome)
        fault = f"  {outcome.verdict}: {outcome.case}: {outcome.detail}" if outcome.verdict in FAULTS else ""
        if fault or done % 20 == 0:
            print(f"{done}/{count} {outcome.kind}{fault}", file=sys.stderr, flush=True)
    print(f"\n{count} bad inputs, seed {seed}; {machine()}\n")
    print_summary(outcomes)
    if not any(outcome.verdict in FAULTS for outcome in outcomes) and not out:
        shutil.rmtree(folder)


def print_summary(outcomes: list[HostileOutcome]) -> None:
    """A row for each kind of input, and one for all."""
    print_head("input", "tried", *VERDICTS, "longest, s", "most memory, MB")
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    for name, of in [*((kind, [o for o in outcomes if o.kind == kind]) for kind in kinds), ("all", outcomes)]:
        counts = [sum(o.verdict == verdict for o in of) for verdict in VERDICTS]
        longest, most = max(o.seconds for o in of), max(o.peak for o in of) / 2**20
        print_row(name, len(of), *counts, f"{longest:.1f}", f"{most:.0f}")
