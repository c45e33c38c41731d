"""SIGKILLs at random moments of every command that writes, each followed by the same command.

\b
    sth benchmark kills [--count 60] [--seed 0] [--command record] [-o FOLDER]

What the second call leaves is compared with what an undisturbed one writes. Every other kill is of the main process
alone, the rest of its process group. One in five is drawn from the time before the command writes.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import psutil

from benchmarks.hostile_cases import Goods, make_goods
from benchmarks.measuring import machine, print_head, print_row
from sth_core.files import LEFTOVER
from sth_core.outputs import LOCK
from workbench.cli.kinds import FOLDER

DATA = "--data {data} --device cpu"
COMMANDS = {
    "record": f"record {{network}} {DATA} --split val --batch-size 1 -o {{out}}",
    "train": f"train {{recipe}} {DATA} --save-every 0 -o {{out}}",
    "probe": f"probe {{network}} {DATA} --split val -o {{out}}",
    "intervene": f"intervene {{network}} {DATA} --split val -o {{out}}",
    "trust": f"trust {{network}} {DATA} --split val --clips 6 -o {{out}}",
    "figures": "figures {runs} -o {out}",
    "cam": "cam {network} {videos} --device cpu -o {out}",
    "flow": "data flow {data} --workers 2 --side 64 -o {out}",
    "synthesize": "data synthesize {out} --clips 12 --workers 2",
    "check": "data check {data} --workers 2 -o {out}",
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
COMPARED = (".csv", ".safetensors", ".mp4", ".jpg", ".npy")  # as bytes; JSON and HTML hold times and commands,
# PDF, SVG and PNG are a browser's
TIMES = ("seconds", "seconds_per_epoch", "started", "finished")  # columns that differ between two equal trainings
SECONDS, SECONDS_TO_END = 600, 10.0
EARLY = 0.2  # the share of kills before the command writes
FAULTS = ("failed again", "traceback", "hang", "rows lost", "rows doubled", "wrong result", "leftovers", "processes")


@dataclass(frozen=True)
class KillOutcome:
    """A kill: of which command, of what, after how many seconds; whether it came before the command's end, and which
    of FAULTS followed, each with what was seen."""

    command: str
    whom: str
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
    undisturbed: dict[str, Undisturbed] = {}
    for number in range(count):
        name, draw = commands[number % len(commands)], random.Random(f"{seed} {number}")
        if name not in undisturbed:
            undisturbed[name] = run_undisturbed(words_of(name, goods, folder / name), folder / name)
        out = folder / f"{number:05d}"
        whom = ("group", "main process")[(number // len(commands)) % 2]
        outcome = killed(name, words_of(name, goods, out), out, undisturbed[name], whom, draw)
        yield outcome
        if not outcome.faults:
            shutil.rmtree(out, ignore_errors=True)


def words_of(name: str, goods: Goods, out: Path) -> list[str]:
    paths = {
        "network": goods.checkpoint, "data": goods.data, "recipe": goods.folder / "recipe.toml",
        "study": goods.folder / "study.toml", "runs": goods.folder / "runs", "videos": goods.data / "val", "out": out,
    }  # fmt: skip
    return [word.format(**paths) for word in COMMANDS[name].split()]


def started(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "workbench", *words], env=environment, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip


def run_undisturbed(words: list[str], out: Path) -> Undisturbed:
    log, began = out.with_name(f"{out.name}.log"), time.monotonic()
    process, wrote = started(words, log), 0.0
    while process.poll() is None:
        if not wrote and out.exists():
            wrote = time.monotonic() - began
        time.sleep(0.01)
    if process.returncode:
        raise click.ClickException(f"{' '.join(words)} failed undisturbed: {log.read_text(errors='replace')}")
    return Undisturbed(wrote, time.monotonic() - began, contents(out))


def killed(
    name: str, words: list[str], out: Path, undisturbed: Undisturbed, whom: str, draw: random.Random
) -> KillOutcome:
    """Start a command, kill it, run it again, and judge."""
    early, share, log = draw.random() < EARLY, draw.random(), out.with_name(f"{out.name}.log")
    began, process = time.monotonic(), started(words, log)
    if early:
        time.sleep(share * undisturbed.wrote)
    else:
        while process.poll() is None and not out.exists():
            time.sleep(0.01)
        time.sleep(share * (undisturbed.ended - undisturbed.wrote))
    in_time, seconds = process.poll() is None, time.monotonic() - began
    children = psutil.Process(process.pid).children(recursive=True) if in_time else []
    if in_time:
        (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    # A study's networks save their state and end within two seconds; so do browsers.
    _, left = psutil.wait_procs(children, timeout=SECONDS_TO_END)
    faults = {"processes": ", ".join(" ".join(one.cmdline()[:6]) for one in left)} if left else {}
    for one in left:
        one.kill()
    return KillOutcome(name, whom, seconds, in_time, faults | again(words, out, undisturbed, log))


def again(words: list[str], out: Path, undisturbed: Undisturbed, log: Path) -> dict[str, str]:
    """Run the command again; its faults."""
    process = started(words, log)
    try:
        code = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return {"hang": f"more than {SECONDS} s"}
    said = log.read_text(encoding="utf-8", errors="replace")
    faults = {"failed again": said.strip().splitlines()[-1]} if code else {}
    if "Traceback (most recent call last)" in said:
        faults["traceback"] = said[said.index("Traceback") :]
    if left := [str(path.relative_to(out)) for path in out.rglob(".*") if is_leftover(path)]:
        faults["leftovers"] = ", ".join(left)
    return faults | differences(undisturbed.contents, contents(out))


def is_leftover(path: Path) -> bool:
    return (
        bool(LEFTOVER.fullmatch(path.name)) or ".part" in path.suffixes or (path.suffix == LOCK and path.name != LOCK)
    )


def contents(out: Path) -> dict[str, object]:
    """{name: content} of what two equal calls write: tables by row, other files as bytes, the rest by name alone."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != LOCK):
        name = path.relative_to(out).as_posix()
        if path.name == "state.pt" or path.suffix == ".jsonl" or "tensorboard" in path.parts or path.name == "log.txt":
            continue  # in another order or with more than an undisturbed call writes
        if path.suffix == ".parquet" and path.stem.startswith("part-"):
            rows = pd.read_parquet(path).map(repr).agg("|".join, axis=1).tolist()
            of_kind = found.setdefault(path.parent.relative_to(out).as_posix(), [])
            assert isinstance(of_kind, list)
            of_kind.extend(rows)
        elif path.name == "metrics.csv":
            table = pd.read_csv(path)
            found[name] = table.drop(columns=[column for column in TIMES if column in table]).to_csv()
        else:
            found[name] = path.read_bytes() if path.suffix in COMPARED else None
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
@click.option("--count", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--command", "commands", multiple=True, type=click.Choice(list(COMMANDS)), help="These; by default all.")
@click.option("-o", "--out", type=FOLDER, help="A new folder; what a fault left stays there.")
def main(count: int, seed: int, commands: tuple[str, ...], out: Path | None) -> None:
    folder, outcomes = out or Path(tempfile.mkdtemp(prefix="sth-kills-")), []
    for done, outcome in enumerate(trials(seed, count, folder, commands or tuple(COMMANDS)), start=1):
        outcomes.append(outcome)
        when = f"after {outcome.seconds:.1f} s" if outcome.in_time else "had ended"
        faults = "".join(f"\n  {fault}: {seen}" for fault, seen in outcome.faults.items())
        print(f"{done}/{count} {outcome.command}, {outcome.whom}, {when}{faults}", file=sys.stderr, flush=True)
    print(f"\n{count} kills, seed {seed}; {machine()}\n")
    print_summary(outcomes)


def print_summary(outcomes: list[KillOutcome]) -> None:
    """A row for each command, and one for all."""
    print_head("command", "kills", "of the main process alone", "before its end", *FAULTS)
    names = list(dict.fromkeys(outcome.command for outcome in outcomes))
    for name, of in [*((name, [o for o in outcomes if o.command == name]) for name in names), ("all", outcomes)]:
        counts = [sum(fault in o.faults for o in of) for fault in FAULTS]
        print_row(name, len(of), sum(o.whom != "group" for o in of), sum(o.in_time for o in of), *counts)
