"""What several benchmarks share: how they measure time and memory, and what they print."""

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def take_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
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
