"""Processes killed at random moments in every command that writes, each followed by the same command.

\b
    sth benchmark kills [--count 72] [--seed 0] [--command record] [-o FOLDER]

What the second call leaves is compared with what an undisturbed one writes. In turn, SIGKILL ends the whole process
group, SIGKILL ends the main process alone, SIGTERM asks the main process alone. One in five comes before the command
writes. As many commands run at once as the machine has cores.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import psutil

from benchmarks.hostile_cases import Goods, make_goods
from benchmarks.hostile_inputs import SECONDS
from benchmarks.measuring import machine, print_head, print_row
from sth_core.files import LEFTOVER
from sth_core.outputs import LOCK
from workbench.cli.kinds import FOLDER

DATA = "--data {data} --device cpu"
COMMANDS = {
    "record": f"record {{network}} {DATA} --split val --batch-size 1 -o {{out}}",
    "train": f"train {{recipe}} {DATA} --save-every 0 -o {{out}}",
    "probe": f"probe {{network}} {DATA} --split val --batch-size 1 -o {{out}}",
    "intervene": f"intervene {{network}} {DATA} --split val --batch-size 2 -o {{out}}",
    "trust": f"trust {{network}} {DATA} --split val --clips 3 -o {{out}}",
    "figures": "figures {runs} -o {out}",
    "cam": "cam {network} {videos} --device cpu -o {out}",
    "data flow": "data flow {data} --workers 2 --side 64 -o {out}",
    "data synthesize": "data synthesize {out} --clips 12 --workers 2",
    "data check": "data check {data} --workers 2 -o {out}",
    "study": f"study {{study}} {DATA} --jobs 2 -o {{out}}",
    "demo": "demo --no-app -o {out}",
}
STUDY = """
recipe = "recipe.toml"
seeds = [0]
[axes.network]
"2D" = { "model.conv" = "2d" }
"STH" = { "model.temporal_fraction" = 0.5 }
"""
SMALL_DEMO = """
from workbench import demo
demo.CLIPS, demo.NETWORKS = 6, demo.NETWORKS[1:3]
import workbench.__main__
"""
GROUP, ALONE, ASKED = WAYS = ("group", "main process", "main process, SIGTERM")
TURNS = (GROUP, ALONE, ASKED, GROUP, ALONE)
TIMES = ("seconds", "seconds_per_epoch", "started", "finished")  # columns that differ between two equal trainings
AS_BYTES = (".csv", ".safetensors", ".mp4", ".jpg", ".npy")
AS_TEXT = (".json", ".html")  # without times, and of paths, commands and drawn names alike
CHANGING = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.+]+|[\d.]+ s\b|[0-9a-f]{8}-[0-9a-f-]{27}")
ENDED, LOOK = 10.0, 0.05  # seconds in which all processes must have ended; between two looks at them
EARLY = 0.2  # the share of kills before the command writes
MARK = "STH_KILLED"  # in the environment of the processes of a trial: its folder
FAULTS = (
    "failed again", "traceback", "hang", "rows lost", "rows doubled", "wrong result", "leftovers", "processes"
)  # fmt: skip


@dataclass(frozen=True)
class KillOutcome:
    """A kill: of which command, in which of WAYS, after how many seconds; whether it came before the command's end, and
    which of FAULTS followed, each with what was seen."""

    command: str
    way: str
    seconds: float
    in_time: bool
    faults: dict[str, str]


@dataclass(frozen=True)
class Undisturbed:
    """A command that nobody disturbed: when it first wrote and when it ended, in seconds, and what it wrote."""

    wrote: float
    ended: float
    contents: dict[str, object]


def trials(seed: int, count: int, folder: Path, commands: tuple[str, ...] = tuple(COMMANDS)) -> Iterator[KillOutcome]:
    """Kill `count` commands in turn, and judge what the same commands then give.

    What a fault left behind stays in `folder`/<number>; the rest is removed."""
    goods = make_goods(folder / "goods")
    (goods.folder / "study.toml").write_text(STUDY, encoding="utf-8")

    def trial(number: int) -> KillOutcome:
        name, out = commands[number % len(commands)], folder / f"{number:05d}"
        way = TURNS[number // len(commands) % len(TURNS)]
        draw = random.Random(f"{seed} {number}")
        outcome = killed(name, words_of(name, goods, out), out, undisturbed[name], way, draw)
        if not outcome.faults:
            shutil.rmtree(out, ignore_errors=True)
        return outcome

    def without_kill(name: str) -> Undisturbed:
        out = folder / name.replace(" ", "-")
        return run_undisturbed(words_of(name, goods, out), out)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        run = pool.map(without_kill, commands)
        undisturbed = dict(zip(commands, run, strict=True))
        yield from pool.map(trial, range(count))


def words_of(name: str, goods: Goods, out: Path) -> list[str]:
    paths = {
        "network": goods.checkpoint, "data": goods.data, "recipe": goods.folder / "recipe.toml",
        "study": goods.folder / "study.toml", "runs": goods.folder / "runs", "videos": goods.data / "val", "out": out,
    }  # fmt: skip
    how = ["-c", SMALL_DEMO] if name == "demo" else ["-m", "workbench"]
    return [sys.executable, *how, *(word.format(**paths) for word in COMMANDS[name].split())]


@contextmanager
def started(words: list[str], out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which ends with the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: str(out)}
    with log_of(out).open("ab") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def log_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def run_undisturbed(words: list[str], out: Path) -> Undisturbed:
    began, wrote = time.monotonic(), 0.0
    with started(words, out) as process:
        while process.poll() is None:
            if not wrote and out.exists():
                wrote = time.monotonic() - began
            time.sleep(0.01)
    if process.returncode:
        raise click.ClickException(f"{' '.join(words)} failed undisturbed: {log_of(out).read_text(errors='replace')}")
    return Undisturbed(wrote, time.monotonic() - began, contents(out))


def killed(
    name: str, words: list[str], out: Path, undisturbed: Undisturbed, way: str, draw: random.Random
) -> KillOutcome:
    """Start a command, kill it, run it again, and judge."""
    early, share, began = draw.random() < EARLY, draw.random(), time.monotonic()
    with started(words, out) as process:
        if early:
            time.sleep(share * undisturbed.wrote)
        else:
            while process.poll() is None and not out.exists():
                time.sleep(0.01)
            time.sleep(share * (undisturbed.ended - undisturbed.wrote))
        in_time, seconds = process.poll() is None, time.monotonic() - began
        children = psutil.Process(process.pid).children(recursive=True) if in_time else []
        if in_time:
            send = os.killpg if way == GROUP else os.kill
            send(process.pid, signal.SIGTERM if way == ASKED else signal.SIGKILL)
        holds(lambda: process.poll() is not None and not processes_left(out, children), ENDED)
        left = processes_left(out, children)
        faults = {"processes": "; ".join(left.values())} if left else {}
        for one in left:
            one.kill()
    return KillOutcome(name, way, seconds, in_time, faults | again(words, out, undisturbed))


def holds(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something holds before that much time has passed, counted in looks: a virtual machine may stand still
    while its clock goes on."""
    for _ in range(int(seconds / LOOK)):
        if condition():
            return True
        time.sleep(LOOK)
    return False


def processes_left(out: Path, children: list[psutil.Process]) -> dict[psutil.Process, str]:
    """{process: its command} of the processes of a trial that still run: `children`, and those with its mark."""
    found = {}
    for one in {*children, *psutil.process_iter()}:
        with suppress(psutil.Error):
            known = one in children or one.environ().get(MARK) == str(out)
            if known and one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                found[one] = " ".join(one.cmdline()[:8])
    return found


def again(words: list[str], out: Path, undisturbed: Undisturbed) -> dict[str, str]:
    """Run the command again; its faults."""
    with started(words, out) as process:
        if not holds(lambda: process.poll() is not None, SECONDS):
            return {"hang": f"more than {SECONDS} s"}
    said = log_of(out).read_text(encoding="utf-8", errors="replace")
    faults = {"failed again": said.strip().splitlines()[-1]} if process.returncode else {}
    if "Traceback (most recent call last)" in said:
        faults["traceback"] = said[said.index("Traceback") :]
    if left := [str(path) for path in (*out.rglob(".*"), *out.parent.glob(f".{out.name}*")) if is_leftover(path)]:
        faults["leftovers"] = ", ".join(left)
    return faults | differences(undisturbed.contents, contents(out))


def is_leftover(path: Path) -> bool:
    """Whether a file is a temporary one, or the lock of a single file; a folder's lock stays."""
    lock = path.suffix == LOCK and path.name != LOCK
    return bool(LEFTOVER.fullmatch(path.name)) or ".part" in path.suffixes or lock


def contents(out: Path) -> dict[str, object]:
    """{name: content} of what two equal calls write; of pictures that a browser draws, the names alone.

    The rows of all shards of a table are one list."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != LOCK):
        name = path.relative_to(out)
        if path.name in ("state.pt", "log.txt") or path.suffix == ".jsonl" or "tensorboard" in path.parts:
            continue  # in another order or with more than an undisturbed call writes
        if path.suffix == ".parquet":
            rows = [
                "|".join(map(repr, row)).replace(str(out), "OUT")
                for row in pd.read_parquet(path).itertuples(index=False)
            ]
            of_kind = found.setdefault(str(name.parent if path.stem.startswith("part-") else name), [])
            assert isinstance(of_kind, list)
            of_kind.extend(rows)
        elif path.name == "metrics.csv":
            table = pd.read_csv(path)
            found[str(name)] = table.drop(columns=[column for column in TIMES if column in table]).to_csv()
        elif path.suffix in AS_TEXT:
            found[str(name)] = CHANGING.sub("", path.read_text(encoding="utf-8").replace(str(out), "OUT"))
        else:
            found[str(name)] = path.read_bytes() if path.suffix in AS_BYTES else None
    return found


def differences(wanted: dict[str, object], got: dict[str, object]) -> dict[str, str]:
    """The faults of what the second call left, against an undisturbed call."""
    faults: dict[str, list[str]] = {}
    for name in wanted.keys() | got.keys():
        before, now = wanted.get(name, "nothing"), got.get(name, "nothing")
        if isinstance(before, list) and isinstance(now, list):
            if missing := len(set(before) - set(now)):
                faults.setdefault("rows lost", []).append(f"{missing} of {name}")
            if len(now) > len(before):
                faults.setdefault("rows doubled", []).append(f"{len(now) - len(before)} of {name}")
        elif before != now:
            faults.setdefault("wrong result", []).append(name)
    return {fault: ", ".join(sorted(names)) for fault, names in faults.items()}


@click.command(help=__doc__)
@click.option("--count", default=72, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--command", "commands", multiple=True, type=click.Choice(list(COMMANDS)), help="These; by default all.")
@click.option("-o", "--out", type=FOLDER, help="A new folder; what a fault left stays there.")
def main(count: int, seed: int, commands: tuple[str, ...], out: Path | None) -> None:
    folder = out or Path(tempfile.mkdtemp(prefix="sth-kills-"))
    outcomes = shown(trials(seed, count, folder, commands or tuple(COMMANDS)), count)
    print(f"\n{count} kills, seed {seed}; {machine()}\n")
    print_summary(outcomes)
    if not out and not any(outcome.faults for outcome in outcomes):
        shutil.rmtree(folder)


def shown(outcomes: Iterator[KillOutcome], count: int) -> list[KillOutcome]:
    """The outcomes, each shown on stderr as it comes."""
    found = []
    for outcome in outcomes:
        found.append(outcome)
        when = f"after {outcome.seconds:.1f} s" if outcome.in_time else "had ended"
        faults = "".join(f"\n  {fault}: {seen}" for fault, seen in outcome.faults.items())
        print(f"{len(found)}/{count} {outcome.command}, {outcome.way}, {when}{faults}", file=sys.stderr, flush=True)
    return found


def print_summary(outcomes: list[KillOutcome]) -> None:
    """A row for each command, and one for all."""
    print_head("command", *WAYS, "before its end", *FAULTS)
    names = list(dict.fromkeys(outcome.command for outcome in outcomes))
    for name, of in [*((name, [o for o in outcomes if o.command == name]) for name in names), ("all", outcomes)]:
        ways = [sum(outcome.way == way for outcome in of) for way in WAYS]
        faults = [sum(fault in outcome.faults for outcome in of) for fault in FAULTS]
        print_row(name, *ways, sum(outcome.in_time for outcome in of), *faults)
