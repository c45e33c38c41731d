"""Tables that grow clip by clip, and survive being killed at any moment: FOLDER/KIND/part-00000.parquet, ...

What is computed of a clip is written as one part of each kind, the last kind last: a clip stands once that one does.
`analysis.runs.writing` does the same for recordings, which many processes write at once.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.runs.run_directory import parts
from analysis.runs.writing import now, only_recording, sync, write_table
from sth_core.errors import UserError
from sth_core.files import write_json


@dataclass(frozen=True)
class Parts:
    """The tables of `kinds` in `folder`; rows have a clip_id."""

    folder: Path
    kinds: tuple[str, ...]

    def standing(self) -> set[str]:
        """The clips that are done."""
        files = parts(self.folder, self.kinds[-1])
        return {clip for file in files for clip in pd.read_parquet(file, columns=["clip_id"])["clip_id"]}

    def add(self, tables: dict[str, pd.DataFrame]) -> None:
        """Write what was computed of one clip or more: a table of each kind."""
        numbers = [int(file.stem.removeprefix("part-")) for file in parts(self.folder, self.kinds[-1])]
        name = f"part-{max(numbers, default=-1) + 1:05d}.parquet"
        for kind in self.kinds:
            (self.folder / kind).mkdir(exist_ok=True)
            write_table(self.folder / kind / name, tables[kind])

    def read(self, kind: str) -> pd.DataFrame:
        """All rows of a kind, in the order of their clips."""
        whole = {file.name for file in parts(self.folder, self.kinds[-1])}
        tables = [pd.read_parquet(file) for file in parts(self.folder, kind) if file.name in whole]
        if not tables:
            return pd.DataFrame(columns=["clip_id"])
        return pd.concat(tables, ignore_index=True).sort_values("clip_id", kind="stable", ignore_index=True)


@contextmanager
def computing(folder: Path, name: str, meta: dict[str, Any], same: tuple[str, ...]) -> Iterator[None]:
    """While the block runs nobody else computes into `folder`; `folder`/`name` says what, and when it was finished.

    Raises:
        UserError: there are results of something else (another value of a key in `same`), or another process is at it.
    """
    file = folder / name
    with only_recording(folder):
        if file.is_file():
            try:
                before = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{file} is damaged ({error}); delete {folder} or choose another folder") from error
            for key in same:
                if before.get(key) != json.loads(json.dumps(meta[key])):
                    raise UserError(
                        f"{folder} holds other results ({key} is {before.get(key)!r}, now {meta[key]!r}); "
                        f"choose another folder for these"
                    )
        meta = meta | {"started": now()}
        write_json(file, meta | {"finished": None})
        sync(folder)
        yield
        write_json(file, meta | {"finished": now()})
