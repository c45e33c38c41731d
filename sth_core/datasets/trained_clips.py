"""By which clips of a dataset a network is known to have been trained on, whatever the dataset's folder is called.

A clip's key is a checksum of its file's name and size, and of the part of the file that it is; so a copy of the folder
has the same keys, and so has a file that was moved to another class. Where two files have the same name and size, and
for folders of frames, the key is of the clip's path in the dataset instead of its name.
"""

import hashlib
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KEY_DIGITS = 10  # hexadecimal ones: of 200,000 clips, one in five million others has the key of one of them by chance
BACKWARD_END = " (backward)"  # of the clip_id of a clip that is played backward, which is the same clip


def file_bytes(path: str) -> int:
    """The size of a video; 0 for a folder of frames, -1 if there is nothing."""
    with suppress(OSError, ValueError):
        stat = Path(path).stat()
        return 0 if S_ISDIR(stat.st_mode) else stat.st_size
    return -1


def clip_keys(clips: pd.DataFrame) -> pd.DataFrame:
    """The two keys of each clip: `of_file`, empty for a folder of frames, and `of_path`."""
    rows = []
    for clip_id, path, segment in zip(clips["clip_id"], clips["path"], clips["segment"], strict=True):
        size, part = file_bytes(path), str(segment)
        of_file = key_of("file", Path(path).name, str(size), part) if size > 0 else ""
        rows.append((of_file, key_of("path", clip_id.removesuffix(BACKWARD_END), str(size), part)))
    return pd.DataFrame(rows, clips.index, ["of_file", "of_path"], dtype=object)


def key_of(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:KEY_DIGITS]


def training_keys(table: pd.DataFrame) -> str:
    """The keys of the split "train" of a whole dataset, sorted, one after another: what a checkpoint keeps."""
    forward = table[(table["problem"] == "") & ~table["backward"].astype(bool)]
    keys = clip_keys(forward)
    ambiguous = keys["of_file"].duplicated(keep=False) | keys["of_file"].eq("")
    chosen = keys["of_file"].where(~ambiguous, keys["of_path"])
    return "".join(sorted(set(chosen[forward["split"] == "train"])))


def split_keys(keys: str) -> set[str]:
    return {keys[i : i + KEY_DIGITS] for i in range(0, len(keys), KEY_DIGITS)}


def merged_keys(*trainings: str) -> str:
    """The `training_keys` of several trainings as those of one."""
    return "".join(sorted(set().union(*map(split_keys, trainings))))


def trained_on(table: pd.DataFrame, keys: str) -> NDArray[np.bool_]:
    """(N,): which clips of a table have one of the `training_keys`."""
    known, found = split_keys(keys), clip_keys(table)
    return (found["of_file"].isin(known) | found["of_path"].isin(known)).to_numpy(bool)
