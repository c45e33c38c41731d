"""What several benchmarks measure alike: memory, and numbers from a process of its own."""

import resource
import subprocess
import sys
from pathlib import Path

import psutil


def in_own_process(benchmark: str, *arguments: object) -> list[str]:
    """The words that `sth benchmark BENCHMARK ARGUMENTS` prints."""
    command = [sys.executable, "-m", "workbench", "benchmark", benchmark, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def resident() -> int:
    """The memory that this process holds now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_resident() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss counts what the parent held when it forked
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
