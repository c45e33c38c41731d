"""All that is measured on a GPU, one command after the other: convolutions, data, recording and explaining.

\b
    sth benchmark gpu -o gpu.md          about 8 minutes on an H100, by estimate

OUT is one Markdown file with each command, what it printed and how long it took; it grows as the commands end. A
command that fails is named there with the end of its message, and the others go on.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

from benchmarks.measuring import machine
from sth_core.errors import UserError
from sth_core.files import write_atomically
from sth_core.network import pick_device
from workbench.cli.kinds import FILE

ATTENTION = "--only 'STH hybrid + attention'"
COMMANDS = (
    "convolutions --precision bf16 --batch 16",
    f"convolutions --precision bf16 --batch 16 --training {ATTENTION}",
    f"convolutions --precision bf16 --batch 16 --training --eager {ATTENTION}",
    f"convolutions --precision tf32 --batch 16 {ATTENTION}",
    f"convolutions --precision tf32 --batch 16 --training --eager {ATTENTION}",
    "training something_v1_8 --batch 32 --count 128 --passes 8 --rounds 3 --stored jpeg --stored mp4 --workers 4"
    " --workers 16 --set optimisation.precision=bf16",
    "recording --rounds 3 --few 100 --many 1000 --precision bf16",
    "commands --precision bf16 --clips 64 --batch-size 32 --rounds 3",
    "explaining --rounds 5",
)


@click.command(help=__doc__)
@click.option("-o", "--out", type=FILE, required=True, help="The Markdown file to write.")
def main(out: Path) -> None:
    device = pick_device()
    if device.type != "cuda":
        raise UserError("this machine has no GPU that PyTorch finds; `sth benchmark convolutions` measures its CPU")
    if out.exists():
        raise UserError(f"{out} exists; give another name, or move it elsewhere")
    parts = [f"Measured on {machine(str(device))}."]
    for number, command in enumerate(COMMANDS, 1):
        print(f"{number}/{len(COMMANDS)} sth benchmark {command}", file=sys.stderr, flush=True)
        parts.append(part_of(command))
        with write_atomically(out) as file:
            file.write("\n\n".join(parts) + "\n")
    print(f"written to {out}")


def part_of(command: str) -> str:
    """A command in Markdown, with what it printed."""
    began = time.monotonic()
    words = [sys.executable, "-m", "workbench", "benchmark", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True)
    printed = done.stdout.strip()
    if done.returncode:
        printed += f"\n\nIt failed ({done.returncode}):\n\n```\n{done.stderr.strip()[-1500:]}\n```"
    return f"## sth benchmark {command}\n\n{printed.strip()}\n\n{time.monotonic() - began:.0f} s"
