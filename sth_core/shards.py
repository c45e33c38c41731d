"""Tables that grow by shards, each whole or not there: FOLDER/KIND/part-00000.parquet, part-00001.parquet, ...

What is written is on the disk before it has its name: neither a killed process nor a power cut leaves half a shard.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from sth_core.errors import UserError
from sth_core.files import sync, temporary_beside

PART_NAME = re.compile(r"part-\d{5,9}\.parquet")


def shards(folder: Path, kind: str) -> list[Path]:
    """The shards of a kind, in order; not those that a killed process left half written, whose names are hidden."""
    place = folder / kind  # iterdir, as UPath.glob would take a bracket in the folder's name for a pattern
    files = place.iterdir() if place.is_dir() else ()
    return sorted(file for file in files if file.suffix == ".parquet" and not file.name.startswith("."))


@dataclass(frozen=True)
class Shards:
    """The tables of `kinds` in `folder`; rows have a clip_id.

    A shard is one file of each kind, written in the order of `kinds`: it is whole once the last one is there.
    """

    folder: Path
    kinds: tuple[str, ...]

    def whole(self) -> list[Path]:
        """The last file of each shard that is whole."""
        return shards(self.folder, self.kinds[-1])

    def tidy(self) -> None:
        """Make the folders, and remove what a killed process left of shards that are not whole."""
        whole = {file.name for file in self.whole()}
        for kind in self.kinds:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
            for file in [*(self.folder / kind).glob(".part-*.parquet"), *shards(self.folder, kind)]:
                if file.name not in whole:
                    file.unlink()

    def done(self) -> set[str]:
        """The clip_id of each clip in a whole shard."""
        return {clip for file in self.whole() for clip in pd.read_parquet(file, columns=["clip_id"])["clip_id"]}

    def next_number(self) -> int:
        """The first number that no shard has, nor any after it: of several processes one may be ahead."""
        return max((int(file.stem.removeprefix("part-")) for file in self.whole()), default=-1) + 1

    def write(self, tables: dict[str, pd.DataFrame], number: int | None = None) -> None:
        """Write a shard: the table of each kind that `tables` has, the last kind's among them.

        Of P processes that write at once, the one of rank r takes the numbers `next_number()` + r, + P + r, ...
        """
        number = self.next_number() if number is None else number
        for kind in self.kinds:
            if kind in tables:
                write_table(self.folder / kind / f"part-{number:05d}.parquet", tables[kind])

    def read(self, kind: str) -> pd.DataFrame:
        """All rows of a kind in whole shards, ordered by clip_id."""
        whole = {file.name for file in self.whole()}
        tables = [pd.read_parquet(file) for file in shards(self.folder, kind) if file.name in whole]
        if not tables:
            return pd.DataFrame(columns=["clip_id"])
        return pd.concat(tables, ignore_index=True).sort_values("clip_id", kind="stable", ignore_index=True)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file that is on the disk before it has its name."""
    with temporary_beside(path) as temporary:
        table.to_parquet(temporary, index=False)
        sync(temporary)
    sync(path.parent)


def read_failures(folder: Path) -> dict[str, str]:
    """What `write_failures` wrote. Raises UserError: the table cannot be read."""
    file = folder / "failures.parquet"
    try:
        table = pd.read_parquet(file, columns=["clip_id", "reason"])
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    return dict(zip(table["clip_id"], table["reason"], strict=True))


def write_failures(folder: Path, failures: dict[str, str]) -> None:
    """failures.parquet: the reason for each clip_id that could not be read."""
    write_table(folder / "failures.parquet", pd.DataFrame(failures.items(), columns=["clip_id", "reason"]))
