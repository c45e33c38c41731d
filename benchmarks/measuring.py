"""What several benchmarks share: how they measure time and memory, and what they print."""

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

UNDECIDED = " ?"  # behind a ratio from which nothing follows
LEGEND = (
    "In brackets: the quartiles over the rounds, of each round's quotient. ?: they are further apart than the quotient "
    "is from 1, so nothing follows from it."
)


@dataclass(frozen=True)
class Times:
    """The seconds of each round: by the clock, and of the processor, in which all threads of this process count."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def median(self, clock: str) -> float:
        """Of "wall" or "cpu"."""
        return statistics.median(getattr(self, clock))

    def over(self, other: "Times", clock: str) -> "Quotient":
        """How many times as long as the other this took, round by round."""
        return Quotient(tuple(a / b for a, b in zip(getattr(self, clock), getattr(other, clock), strict=True)))


@dataclass(frozen=True)
class Quotient:
    """The quotient of two ways' times in each round."""

    of_rounds: tuple[float, ...]

    @property
    def decided(self) -> bool:
        """Whether the quartiles are nearer to each other than the median is to 1; of one round it is not known."""
        low, middle, high = np.percentile(self.of_rounds, (25, 50, 75))
        return len(self.of_rounds) > 1 and bool(high - low < abs(middle - 1))

    def __format__(self, digits: str) -> str:
        if set(self.of_rounds) == {1.0}:
            return "1"  # a way over itself: nothing was measured
        low, middle, high = (format(value, digits) for value in np.percentile(self.of_rounds, (25, 50, 75)))
        return f"{middle} ({low} to {high}){'' if self.decided else UNDECIDED}"


def clock_of(device: str) -> str:
    """By which time ways are compared: on a CPU that of the processor, which other programs do not change."""
    return "cpu" if device == "cpu" else "wall"


def speeds(took: Mapping[str, Times], name: str, others: tuple[str, ...], clock: str) -> list[str]:
    """How many times as fast as each other way this one is."""
    return ["1.00" if other == name else f"{took[other].over(took[name], clock):.2f}" for other in others]


def times_in_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    synchronize: Callable[[], object] = lambda: None,
    cpu_clock: Callable[[], float] = time.process_time,
) -> dict[str, Times]:
    """The times of each way, which take turns as in `take_turns`; `synchronize` waits for what a GPU still does, and
    `cpu_clock` gives the processor's time, by default of this process."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}

    def timed(name: str) -> float:
        before = cpu_clock()
        wall = seconds(ways[name], synchronize)
        found[name].append((wall, cpu_clock() - before))
        return wall

    take_turns({name: partial(timed, name) for name in ways}, rounds)
    return {name: Times(*(tuple(column) for column in zip(*of_way, strict=True))) for name, of_way in found.items()}


def take_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each way measures; the turns of a round follow each other, each time from another one."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for i in range(rounds):
        print(f"round {i + 1}/{rounds}", file=sys.stderr)
        for name in names:
            measured[name].append(ways[name]())
        names.append(names.pop(0))
    return {name: statistics.median(values) for name, values in measured.items()}


def seconds(action: Callable[[], object], synchronize: Callable[[], object] = lambda: None) -> float:
    """Wall-clock time of a call; `synchronize` waits for what a GPU still does."""
    synchronize()
    began = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - began


def costs(action: Callable[[], object], rounds: int) -> tuple[float, float, int]:
    """Of a call: the medians of its wall-clock time and of its CPU time in seconds, and this process's peak memory in
    bytes."""
    walls, processor = [], []
    for _ in range(rounds):
        began = time.process_time()
        walls.append(seconds(action))
        processor.append(time.process_time() - began)
    return statistics.median(walls), statistics.median(processor), peak_resident()


def in_own_process(benchmark: str, *arguments: object) -> list[str]:
    """The words that `sth benchmark BENCHMARK ARGUMENTS` prints."""
    command = [sys.executable, "-m", "workbench", "benchmark", benchmark, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def resident() -> int:
    """The memory that this process holds now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_resident(process: int | str = "self") -> int:
    """The most memory that a process has held, in bytes; on Linux of any, elsewhere of this one."""
    status = Path(f"/proc/{process}/status")
    if status.exists():  # Linux's ru_maxrss counts what the parent held when it forked
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def machine(device: str = "") -> str:
    """This machine's processor, cores and, if networks run on a device, that and PyTorch's version."""
    cores = f"{platform.machine()}, {os.cpu_count()} CPU cores"
    if not device:
        return cores
    import torch

    used = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(device)
    return f"{device} ({used}; {cores}), torch {torch.__version__}"


def print_row(*cells: object) -> None:
    """A row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_head(*titles: str) -> None:
    """The first row of a Markdown table, and the line below it."""
    print_row(*titles)
    print("|---" * len(titles) + "|")
