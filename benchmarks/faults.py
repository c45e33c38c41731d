"""Commands that are killed and commands with bad inputs, and one table of both.

\b
    sth benchmark faults [--kills 72] [--inputs 546] [--seed 0] [-o FOLDER]

It runs `sth benchmark kills` and `sth benchmark hostile_inputs`, and takes about ten minutes on two cores.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from benchmarks import hostile_inputs, kills
from benchmarks.hostile_inputs import HostileOutcome
from benchmarks.kills import KillOutcome
from benchmarks.measuring import machine, print_head, print_row
from workbench.cli.kinds import FOLDER

# The table's columns, and the words for each in kills.FAULTS and in hostile_inputs.VERDICTS.
COLUMNS = {
    "refused in a sentence": ("refused",), "tracebacks": ("traceback", "failed again", "crash"), "hangs": ("hang",),
    "over 2 GiB": ("memory",), "lost or doubled rows": ("rows lost", "rows doubled", "not named"),
    "leftovers": ("leftovers",), "wrong results": ("wrong result",), "processes left": ("processes",),
}  # fmt: skip


@click.command(help=__doc__)
@click.option("--kills", "killed", default=72, show_default=True, type=click.IntRange(1))
@click.option("--inputs", default=546, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("-o", "--out", type=FOLDER, help="A new folder; what a fault left stays there.")
def main(killed: int, inputs: int, seed: int, out: Path | None) -> None:
    folder = out or Path(tempfile.mkdtemp(prefix="sth-faults-"))
    of_kills = kills.shown(kills.trials(seed, killed, folder / "kills"), killed)
    of_inputs = []
    for outcome in hostile_inputs.trials(seed, inputs, folder / "inputs"):
        of_inputs.append(outcome)
        if outcome.verdict in hostile_inputs.FAULTS:
            print(f"{outcome.kind}: {outcome.verdict}: {outcome.case}: {outcome.detail}", file=sys.stderr, flush=True)
    print(f"\n{killed} kills and {inputs} bad inputs, seed {seed}; {machine()}\n")
    kills.print_summary(of_kills)
    print()
    hostile_inputs.print_summary(of_inputs)
    print()
    if print_faults(of_kills, of_inputs):
        sys.exit(1)
    if not out:
        shutil.rmtree(folder)


def print_faults(of_kills: list[KillOutcome], of_inputs: list[HostileOutcome]) -> int:
    """Print a row for the kills and one for the bad inputs, "-" where a column is not measured of them; returns how
    many faults there were."""
    print_head("", "tried", *COLUMNS)
    seen = {
        "kills": (kills.FAULTS, [set(o.faults) for o in of_kills]),
        "bad inputs": (hostile_inputs.VERDICTS, [{o.verdict} for o in of_inputs]),
    }
    faults = 0
    for name, (known, outcomes) in seen.items():
        counts = [sum(not found.isdisjoint(words) for found in outcomes) for words in COLUMNS.values()]
        cells = [
            "-" if set(known).isdisjoint(words) else count
            for count, words in zip(counts, COLUMNS.values(), strict=True)
        ]
        print_row(name, len(outcomes), *cells)
        faults += sum(counts[1:])
    return faults
