"""What `sth probe`, `sth intervene` and `sth trust` have left beside runs, whether whole, unfinished or damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.runs.run_directory import Run
from analysis.runs.run_folders import run_folders
from sth_core.errors import UserError
from sth_core.files import read_object, why_unread

PROBE, INTERVENE, TRUST = EXPERIMENTS = ("probe", "intervene", "trust")  # the commands
NAMES = {PROBE: "Probes", INTERVENE: "Interventions", TRUST: "Trust"}
QUESTIONS = {
    PROBE: "Does it use the frame order?",
    INTERVENE: "Does attention matter?",
    TRUST: "Which explanation can be trusted?",
}
# Of a run, the folder with the results, and the file in it that describes them; `sth trust -o` may name any folder.
PLACES = {
    PROBE: ("probes", "probes.json"),
    INTERVENE: ("interventions", "interventions.json"),
    TRUST: ("trust", "trust.json"),
}


@dataclass(frozen=True)
class FoundResults:
    """The results in a folder. `problem` is empty, or a sentence that says why not all of them can be shown; `meta` is
    empty if none can."""

    folder: Path
    meta: dict[str, Any]
    problem: str = ""


def results_in(folder: Path, experiment: str) -> FoundResults | None:
    """None if the folder holds no results of this command."""
    file = folder / PLACES[experiment][1]
    anew = f"the same `sth {experiment}` command with --overwrite computes them anew"
    if not file.is_file():
        there = folder.is_dir() and any(folder.glob("**/*.parquet"))
        return FoundResults(folder, {}, f"{file} is missing, which describes the results; {anew}") if there else None
    try:
        meta = read_object(file)
    except UserError as error:
        return FoundResults(folder, {}, f"{error}; {anew}")
    if lacking := [key for key in ("command", "clips", "checkpoint_sha256") if key not in meta]:
        return FoundResults(folder, {}, f"{file} is damaged (it has no {lacking[0]}); {anew}")
    resumes = f"`sth {experiment}` has not finished these results; the same command continues it"
    return FoundResults(folder, meta, "" if meta.get("finished") else resumes)


def results_of(run: Run, experiment: str) -> FoundResults | None:
    """The probes or interventions in a run's folder."""
    return results_in(run.path / PLACES[experiment][0], experiment)


def trust_results(runs: Path) -> list[FoundResults]:
    """All results of `sth trust` at or below the folder of runs, by their path."""
    folders, _ = run_folders(runs, PLACES[TRUST][1])  # what cannot be read is named by `find_runs`
    return [found for folder in folders if (found := results_in(folder, TRUST))]


@contextmanager
def reading_results(folder: Path, experiment: str) -> Iterator[None]:
    """Raises UserError: the tables are damaged, and what was raised when they were read."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else why_unread(error)
        raise UserError(
            f"{folder} cannot be read ({why}); the same `sth {experiment}` command moves damaged parts aside, and "
            "computes them again"
        ) from error
