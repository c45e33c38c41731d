"""Runs of so many clips that a page would wait long for all of them: it reads a random sample of them.

How long all would take, and how much memory: docs/scale.md.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.runs.run_directory import Run, count_clips, read_shards, with_shard
from analysis.runs.stored_sample import DESCRIPTION, SAMPLE_FOLDER, SAMPLED, files_sha256, find_stored_sample
from sth_core.errors import UserError
from sth_core.files import sync, why_unread, write_json
from sth_core.resumable import no_report
from sth_core.shards import shards, write_table

READ_WHOLE = 1_000_000  # clips of the largest run of which a page reads all
SAMPLE = 250_000  # about so many clips of a larger one are read
ROWS_PER_FILE = 250_000  # of a stored sample, about


def sample_every(run: Run) -> int:
    """One clip of so many is read: about `SAMPLE` of a run of more than `READ_WHOLE` clips, of another one all."""
    clips = run.meta.get("clips", 0)
    return math.ceil(clips / SAMPLE) if clips > READ_WHOLE else 1


def sampled(run: Run) -> Run:
    """A large run with the `every` of `sample_every`, and with its stored sample if it has one; another as it is."""
    if (every := sample_every(run)) == 1:
        return run
    stored = find_stored_sample(run.path, every) if run.meta.get("finished") else None
    return replace(run, every=every, stored=stored)


def sample_sentence(run: Run) -> str:
    """How much of the run is read; empty if it is all."""
    return f"a random sample is read, one clip in {run.every} of each file" if run.every > 1 else ""


def store_sample(folder: Path, meta: dict[str, Any], notify: Callable[[str], None] = no_report) -> None:
    """Write the sample of a large run that `meta` describes (`stored_sample`), in the place of an earlier one. Of
    another run only an earlier one is removed. Why it could not be written is told: the run is whole without it."""
    target, partial = folder / SAMPLE_FOLDER, folder / f".{SAMPLE_FOLDER}"
    run = Run(folder, meta)
    run = replace(run, every=sample_every(run))
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        if (target / DESCRIPTION).is_file() and not target.is_symlink():
            target.rename(partial)  # so that a half removed one is never read
            shutil.rmtree(partial)
        if run.every == 1 or not shards(folder, "predictions"):
            return
        if os.path.lexists(target):
            raise UserError(f"{target} is in its place and not written by this program; move it away")
        notify(f"writing a random sample of the clips to {target}, which the app reads")
        write_sample(run, partial)
        partial.rename(target)
        sync(folder)
    except (UserError, OSError, pa.ArrowException) as error:
        notify(f"no sample of the clips was written, so the app reads all files: {why_unread(error)}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_sample(run: Run, folder: Path) -> None:
    recorded = {file.name for file in shards(run.path, "predictions")}
    for kind in (kind for kind in SAMPLED if shards(run.path, kind)):
        (folder / kind).mkdir(parents=True)
        for number, table in enumerate(larger_tables(shard_samples(run, kind, recorded))):
            write_table(folder / kind / f"part-{number:05d}.parquet", table)
    said = {"every": run.every, "clips": count_clips(run), "files_sha256": files_sha256(run.path)}
    write_json(folder / DESCRIPTION, said)


def shard_samples(run: Run, kind: str, recorded: set[str]) -> Iterator[pa.Table]:
    """The sample of each shard that is `recorded`: the columns of `SAMPLED`; of predictions the shard's name too."""
    repeated = {"attention": ("clip_id", "layer", "stage"), "predictions": ("label", "prediction")}[kind]
    for name, rows in read_shards(run, kind, ("clip_id",), repeated, SAMPLED[kind]):
        if name in recorded and len(rows):
            yield with_shard(rows, name) if kind == "predictions" else rows


def larger_tables(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of several tables as one, until it has `ROWS_PER_FILE`."""
    held, rows = list[pa.Table](), 0
    for table in tables:
        held.append(table)
        rows += len(table)
        if rows >= ROWS_PER_FILE:
            yield pa.concat_tables(held, promote_options="permissive").unify_dictionaries()
            held, rows = [], 0
    if held:
        yield pa.concat_tables(held, promote_options="permissive").unify_dictionaries()
