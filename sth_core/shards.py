"""Tables that grow by shards, each whole or not there: FOLDER/KIND/part-00000.parquet, part-00001.parquet, ...

What is written is on the disk before it has its name: neither a killed process nor a power cut leaves half a shard.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sth_core.errors import UserError
from sth_core.files import sync, system_sentence, temporary_beside

Result = TypeVar("Result")
READERS = min(8, os.cpu_count() or 1)  # threads that read shards
PART_NAME = re.compile(r"part-\d{5,9}\.parquet")


def shards(folder: Path, kind: str) -> list[Path]:
    """The shards of a kind, in order; not those that a killed process left half written, whose names are hidden.
    Raises UserError: the system does not let the folder be read."""
    place = folder / kind  # iterdir, as UPath.glob would take a bracket in the folder's name for a pattern
    try:
        files = list(place.iterdir()) if place.is_dir() else []
    except OSError as error:
        raise UserError(system_sentence(error)) from error
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
        return {clip for file in self.whole() for clip in read_shard(file, ["clip_id"])["clip_id"].to_pylist()}

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
        tables = [read_shard(file).to_pandas() for file in shards(self.folder, kind) if file.name in whole]
        if not tables:
            return pd.DataFrame(columns=["clip_id"])
        return pd.concat(tables, ignore_index=True).sort_values("clip_id", kind="stable", ignore_index=True)


def write_table(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Write a Parquet file that is on the disk before it has its name, with a checksum of each page of its values."""
    rows = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with temporary_beside(path) as temporary:
        pq.write_table(rows, temporary, write_page_checksum=True)
        sync(temporary)
    sync(path.parent)


def open_shard(file: BinaryIO, **options: Any) -> pq.ParquetFile:
    """What `write_table` wrote. To read values that are no longer those that were written raises OSError; files of
    earlier versions have no checksums."""
    return pq.ParquetFile(file, page_checksum_verification=True, **options)


def read_shard(path: Path, columns: list[str] | None = None) -> pa.Table:
    """These columns, or all of them. Raises ArrowException, OSError or ValueError: they cannot be read."""
    with path.open("rb") as file:
        return open_shard(file).read(columns, use_threads=False)


def several_may_read(file: Path) -> bool:
    """Whether threads may read such files at once: on this machine, or in a storage such as S3 that fsspec asks for
    several at once; FTP and archives have one connection or position for all of their files."""
    return isinstance(file, Path) or bool(getattr(file.fs, "async_impl", False))


def ahead(read: Callable[[Path], Result], files: Sequence[Path]) -> Generator[Result, None, None]:
    """What `read` returns of each file, in order. Several threads read, a few files ahead of those asked for; this one
    reads files of a storage with one connection."""
    if not all(map(several_may_read, files)):
        yield from map(read, files)
        return
    with ThreadPoolExecutor(min(READERS, len(files))) as threads:
        waiting = deque[Future[Result]]()
        try:
            for file in files:
                waiting.append(threads.submit(read, file))
                if len(waiting) > 2 * READERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def read_failures(folder: Path) -> dict[str, str]:
    """What `write_failures` wrote. Raises UserError: the table cannot be read."""
    file = folder / "failures.parquet"
    try:
        table = read_shard(file, ["clip_id", "reason"]).to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    return dict(zip(table["clip_id"], table["reason"], strict=True))


def write_failures(folder: Path, failures: dict[str, str]) -> None:
    """failures.parquet: the reason for each clip_id that could not be read."""
    write_table(folder / "failures.parquet", pd.DataFrame(failures.items(), columns=["clip_id", "reason"]))
