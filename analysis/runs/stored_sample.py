"""A random sample of a large run's clips in files of its own, so that a page does not wait for all files.

    RUN/clip_sample/predictions/*.parquet    the rows of a share of the clips
    RUN/clip_sample/attention/*.parquet
    RUN/clip_sample/sample.json              which share, and of which files

`large_runs.store_sample` writes it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sth_core.errors import UserError
from sth_core.files import read_object
from sth_core.shards import shards

SAMPLE_FOLDER, DESCRIPTION = "clip_sample", "sample.json"
SAMPLED = {  # the tables, and which columns of them: those that pages read, all but lists of numbers, which are large
    "attention": (
        "clip_id", "layer_index", "layer", "stage", "alpha_spatial", "alpha_temporal", "time_share", "extra_share",
    ),
    "predictions": (
        "clip_id", "path", "label", "prediction", "correct", "confidence", "margin", "disagreement", "frame_indices",
        "flow", "backward", "segment", "group", "bytes",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class StoredSample:
    """Its tables are in `folder`; `clips` have a prediction in the files that it was taken of."""

    folder: Path
    clips: int


def find_stored_sample(run: Path, every: int) -> StoredSample | None:
    """The stored sample of a run directory; None if there is none, or one that was taken of other files or shares."""
    folder = run / SAMPLE_FOLDER
    try:
        said = read_object(folder / DESCRIPTION)
        same = said.get("every") == every and said.get("files_sha256") == files_sha256(run)
    except (UserError, OSError):  # a file of the run has just been replaced
        return None
    return StoredSample(folder, said["clips"]) if same and isinstance(said.get("clips"), int) else None


def files_sha256(run: Path) -> str:
    """Of the names and sizes of the run's files: another one after any was added, removed, or written anew with other
    columns, but not of a changed value."""
    files = (f"{kind}/{file.name} {file.stat().st_size}\n" for kind in SAMPLED for file in shards(run, kind))
    return hashlib.sha256("".join(files).encode()).hexdigest()
