"""The numbers in README.md and docs/: run again the commands that they come from, and write tables into the pages.

docs/reproduce.toml lists the commands; docs/outputs/ holds what each printed, on which commit and which machine.
docs/reproducing.md explains both.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from benchmarks.doc_tables import seeds_command, table_command
from benchmarks.measuring import machine, print_head, print_row
from benchmarks.quoted import NUMBER, OUTPUTS, REPOSITORY, Output, read_output, rendered, write_output
from sth_core.errors import UserError
from workbench.cli.kinds import FILE, FOLDER

LIST = REPOSITORY / "docs" / "reproduce.toml"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "workbench/networks/README.md"]
PAGES += [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if path.name != "reproducing.md"]  # its examples
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "av", "duckdb", "pandas")
SHORT = 10  # minutes; a longer command runs only if it is named


@dataclass(frozen=True)
class Entry:
    """A command whose output the pages quote."""

    command: str
    minutes: float
    needs: tuple[str, ...] = ()  # "gpu", or folders of STH_REAL_DATA
    before: tuple[str, ...] = ()  # commands that make what this one reads; what they print is not kept
    varies: tuple[str, ...] = ()  # titles of columns with other numbers at each call; "text": those outside of tables
    note: str = ""  # what the committed output is not, if anything


def entries(path: Path = LIST) -> dict[str, Entry]:
    """docs/reproduce.toml."""
    found = {}
    for name, values in tomllib.loads(path.read_text(encoding="utf-8")).items():
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        found[name] = Entry(**plain)
    return found


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(table_command)
main.add_command(seeds_command)


@main.command("list")
def list_command() -> None:
    """Print each command, what it needs, and when its output was made."""
    print_head("name", "command", "needs", "minutes", "output of", "commit")
    for name, entry in entries().items():
        head = read_output(name).head if (OUTPUTS / f"{name}.md").exists() else {"date": "-", "commit": "-"}
        needs = ", ".join(entry.needs) or "-"
        command = shorten(entry.command.replace("|", "/"), 80, placeholder=" ...")
        print_row(name, f"`{command}`", needs, f"{entry.minutes:g}", head["date"], head["commit"])


@main.command("render")
def render_command() -> None:
    """Write the tables of docs/outputs/ into the pages, between their comments."""
    render_pages()


def render_pages() -> None:
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := rendered(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(REPOSITORY))


@main.command("check")
@click.option("--only", default="", help="Names, separated by commas; else all that take ten minutes at most.")
@click.option("--data", type=FOLDER, envvar="STH_REAL_DATA", help="The folder of ut_interaction, two_questions, ...")
@click.option("--work", type=FOLDER, help="Where the commands run and long ones resume; else a temporary folder.")
@click.option("--update", is_flag=True, help="Keep the new output, and write its tables into the pages.")
def check_command(only: str, data: Path | None, work: Path | None, update: bool) -> None:
    """Run the commands again, and print old beside new where they differ.

    A difference of timings is not a failure; any other is, and the command then ends with 1.
    """
    known, failed = entries(), False
    if unknown := [name for name in only.split(",") if name and name not in known]:
        raise UserError(f"no {', '.join(unknown)} in docs/reproduce.toml; it has: {', '.join(known)}")
    for name in only.split(",") if only else known:
        if reason := why_not(known[name], data, named=bool(only)):
            print(f"{name}: left out: {reason}", flush=True)
            continue
        print(f"{name}: {known[name].command}", flush=True)
        try:
            with tempfile.TemporaryDirectory() as temporary:
                new = Output(head_now(known[name]), run(known[name], work or Path(temporary), data))
        except UserError as error:
            print(f"  {error}", flush=True)
            failed = True
            continue
        if (OUTPUTS / f"{name}.md").exists():
            failed |= report(read_output(name), new, known[name].varies)
        if update:
            print(f"  written: {write_output(name, new).relative_to(REPOSITORY)}")
    if update:
        render_pages()
    sys.exit(int(failed and not update))


@main.command("keep")
@click.argument("name")
@click.argument("printed", type=FILE)
@click.option("--date", "on", default="", help="When it was printed, 2026-01-31; today if not given.")
@click.option("--commit", default="", help="On which commit; today's if not given.")
@click.option("--device", default="", help="On which machine; this one if not given.")
@click.option("--versions", default="", help="With which packages; those installed here if not given.")
@click.option("--note", default="", help="What is to be known about it.")
def keep_command(name: str, printed: Path, note: str, on: str, **head: str) -> None:
    """Keep what the command NAME of docs/reproduce.toml printed elsewhere, from the file PRINTED."""
    if name not in (known := entries()):
        raise UserError(f"no {name} in docs/reproduce.toml; it has: {', '.join(known)}")
    said = {key: value for key, value in ({"date": on} | head | {"note": note}).items() if value}
    print(write_output(name, Output(head_now(known[name]) | said, printed.read_text(encoding="utf-8"))))


def why_not(entry: Entry, data: Path | None, *, named: bool) -> str:
    """Why an entry cannot run here, or does not run unless it is named; empty if it runs."""
    if entry.minutes > SHORT and not named:
        return f"takes {entry.minutes:g} minutes; name it with ONLY=NAME to run it"
    if "gpu" in entry.needs and not shutil.which("nvidia-smi"):
        return "needs a GPU"
    if absent := [n for n in entry.needs if n != "gpu" and not (data and (data / n).exists())]:
        return f"needs {', '.join(absent)} in the folder that STH_REAL_DATA or --data names"
    return ""


def run(entry: Entry, folder: Path, data: Path | None) -> str:
    """What the command prints, in a folder from which the repository's recipes and networks and the data are seen."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = [
        REPOSITORY / "workbench",
        REPOSITORY / "recipes",
        *((data / n for n in entry.needs if n != "gpu") if data else ()),
    ]
    for target in seen:
        if not (folder / target.name).exists():
            (folder / target.name).symlink_to(target.resolve())
    first = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(REPOSITORY)}
    paths = {name: os.pathsep.join(filter(None, (path, os.environ.get(name)))) for name, path in first.items()}
    environment = os.environ | paths | {"COLUMNS": "200"}
    for command in (*entry.before, entry.command):
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"ended with exit code {done.returncode}: {command}")
    return done.stdout


def head_now(entry: Entry) -> dict[str, str]:
    """The head of an output that is made here and now."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md"):
        commit += ", with changes"
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    today = date.today().isoformat()
    head = {
        "command": entry.command,
        "date": today,
        "commit": commit,
        "device": machine(),
        "versions": ", ".join(found),
    }
    return head | ({"note": entry.note} if entry.note else {})


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    ).stdout.strip()


def report(old: Output, new: Output, varies: tuple[str, ...]) -> bool:
    """Print where two outputs differ; whether another number or word than one that varies does."""
    print(f"  old: {old.head['date']}, commit {old.head['commit']}, {old.head['device']}")
    found = list(differences(old.body, new.body, varies))
    for where, before, after, counts in found:
        print(f"  {'DIFFERS' if counts else 'timing '} {where}: {before} -> {after}{_ratio(before, after)}")
    print(f"  {len(found)} differences, {sum(counts for *_, counts in found)} of them not of timings", flush=True)
    return any(counts for *_, counts in found)


def differences(old: str, new: str, varies: tuple[str, ...]) -> Iterator[tuple[str, str, str, bool]]:
    """(where, old, new, whether it should be equal) of each cell of a table, or other line, that differs."""
    titles: list[str] = []
    for before, after in aligned(old.strip().splitlines(), new.strip().splitlines()):
        cells, others = _cells(before), _cells(after)
        if not cells or len(cells) != len(others):
            titles = titles if cells or others else []
            if before != after:
                yield "text", before, after, bool(cells or others) or "text" not in varies
            continue
        titles = titles if len(titles) == len(cells) else cells  # a table of another width is another table
        for title, cell, other in zip(titles, cells, others, strict=True):
            if cell != other:
                yield f"{cells[0]}, {title}", cell, other, not _is_timing(title, varies) or not re.search(NUMBER, other)


def _is_timing(title: str, varies: tuple[str, ...]) -> bool:
    """Whether a column's title is one of these words, or has one of them: "by CPU: x TSM" has "x TSM"."""
    return any(word == title or (len(word) > 1 and word in title) for word in varies)


def aligned(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of lines that are the same but for their numbers; what has no partner is beside an empty line."""
    a, b = ([re.sub(NUMBER, "#", line) for line in lines] for lines in (old, new))
    for _, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield from zip_longest(old[i:i_end], new[j:j_end], fillvalue="")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n ").split("|")] if line.startswith("|") else []


def _ratio(before: str, after: str) -> str:
    old, new = re.findall(NUMBER, before), re.findall(NUMBER, after)
    return f" (x {float(new[0]) / float(old[0]):.2f})" if len(old) == len(new) == 1 and float(old[0]) else ""
