"""Run directories as tables: DuckDB over their Parquet files, pandas out.

A run may lie in object storage: wherever a path is asked for, a URL that fsspec knows does as well.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any, TypeVar, cast

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from analysis.runs.clip_rows import in_order, sample_clips
from analysis.runs.clip_table import ClipTable
from analysis.runs.correctness import with_correctness
from analysis.runs.run_check import MODALITIES, check_schema, check_values, wrong_in
from analysis.runs.run_folders import run_folders
from analysis.runs.stored_sample import SAMPLE_FOLDER, SAMPLED, StoredSample
from sth_core.errors import UserError
from sth_core.files import why_unread
from sth_core.notebook_html import bars, card
from sth_core.resumable import Work
from sth_core.shards import ahead, open_shard, read_shard, shards

Result = TypeVar("Result")
CLIP_COLUMNS = ("clip_id", "label", "prediction", "correct", "confidence")
OPTIONAL_COLUMNS = ("path", "margin", "disagreement")  # that not every version has recorded
ALL_BUT_SCORES = (*OPTIONAL_COLUMNS, "group", "frame_indices")
FAILURE_COLUMNS = ["clip_id", "path", "reason"]
OTHER = "other"  # the `conv` of a network that is none of the paper's
EXTRAS = {"s3fs": "'sth-workbench[s3]'"}  # that bring a package
SHARD_KINDS = ("attention", "predictions")  # a clip is recorded once its prediction is written
# What a recording owns beside run.json: its tables, and what was computed of them.
OWNED = ("predictions", "attention", "features", "failures.parquet", "probes", "interventions", SAMPLE_FOLDER)
# Two runs are the same recording if these keys of run.json are equal; earlier versions did not write all of them.
RECORDING = (
    "checkpoint_sha256", "attention", "data", "label", "direction", "split", "protocol", "vectors", "features",
    "precision",
)  # fmt: skip
EARLIER_RECORDINGS = {"direction": False, "vectors": False, "features": False, "precision": "fp32"}
QUERIES = threading.BoundedSemaphore(2)  # at once: what each holds of a run of Kinetics' size would add up


@dataclass(frozen=True)
class Run:
    """One run directory. `problem` is empty, or a sentence that says why it cannot be shown whole.

    `path` of a run in object storage is a `UPath`, which has a Path's methods. One clip of
    `every` is read: more than 1 for a sample of a large run (`large_runs`), of which `stored` has most columns.
    """

    path: Path
    meta: dict[str, Any]
    problem: str = ""
    every: int = 1
    stored: StoredSample | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def p(self) -> str:
        """The temporal fraction as the paper writes it: 1/4, or 0 for a 2D network; "1/4 + 1/2" of a fused run; "-" for
        a network that is none of the paper's."""
        if fused := [str(of["p"]) for of in self.meta.get("fused", ()) if isinstance(of, dict) and "p" in of]:
            return " + ".join(dict.fromkeys(fused))
        if self.meta.get("conv") == OTHER:
            return "-"
        p = self.meta["temporal_fraction"]
        return f"1/{round(1 / p)}" if p else "0"

    @property
    def modality(self) -> str:
        return MODALITIES[self.meta["modality"]]

    @property
    def title(self) -> str:
        """Dataset, p (of a network that is none of the paper's its architecture) and modality."""
        network = self.meta["arch"] if self.meta.get("conv") == OTHER else f"p = {self.p}"
        return f"{self.meta['dataset']}, {network}, {self.modality}"

    @property
    def usable(self) -> bool:
        """Whether it has predictions. Raises UserError: the system does not let their folder be read."""
        return bool(shards(self.path, "predictions"))

    def _repr_html_(self) -> str:
        """What it is, and the accuracy of each class, the lowest first: what Jupyter shows."""
        if not self.meta:
            return card(self.name, [self.problem])
        try:
            clips = clips_of(self, ()) if self.usable else None
        except UserError as error:
            return card(self.name, [self.title, str(error)])
        if clips is None:
            return card(self.name, [self.title, self.problem or "no clip is recorded yet"])
        known = clips[clips["correct"].notna()]
        right = int(known["correct"].sum())
        accuracy = f"top-1 accuracy {right / len(known):.1%} ({right:,} of {len(known):,})" if len(known) else ""
        by_label = known["correct"].astype(float).groupby(known["label"], observed=True).agg(["mean", "sum", "size"])
        by_label = by_label.sort_values("mean", kind="stable")
        texts = [f"{int(row['sum']):,} of {int(row['size']):,}" for _, row in by_label.iterrows()]
        lines = [self.title, f"{len(clips):,} clips, {len(self.meta['classes']):,} classes", accuracy, self.problem]
        return card(self.name, lines, bars([*by_label.index], [*by_label["mean"]], texts))


def location(path: str | Path) -> Path:
    """The path itself, or for a URL (s3://bucket/runs, also as Path("s3://bucket/runs") spells it) a `UPath`.

    Raises:
        UserError: a URL of a kind that is not known, or that needs a package which is not installed.
    """
    if not isinstance(path, str | Path):
        return path  # a UPath
    url = re.match("([a-z][a-z0-9+.-]+):/+", str(path))
    if not url or Path(path).exists():
        return Path(path)
    scheme, rest = url[1], str(path)[url.end() :]
    if scheme == "file":
        return Path("/" + rest)
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or scheme
        package = EXTRAS.get(package, package)
        raise UserError(f"{scheme}:// needs a package that is not installed; pip install {package}") from error
    except ValueError as error:
        raise UserError(f"{scheme}:// is not known; give a folder, or a URL such as s3://bucket/runs") from error
    # With cached listings, a run that is being recorded would not seem to grow.
    return cast(Path, UPath(f"{scheme}://{rest}", use_listings_cache=False))


def find_runs(folder: str | Path, read: Callable[[Path], Run] | None = None) -> list[Run]:
    """All runs at or below `folder`, hidden folders apart, by path; a damaged or unfinished run has a `problem`, and
    so has what stands for a folder below that cannot be read. `read` opens each of them (`open_run`).

    Raises:
        UserError: `folder` cannot be read.
    """
    where, read = location(folder), read or open_run
    if isinstance(where, Path):
        found, unread = run_folders(where, parts=OWNED)
        return [read(path) for path in found] + [Run(path, {}, why) for path, why in sorted(unread.items())]
    root = where.path.rstrip("/")
    try:
        files = [file for file in where.fs.glob(f"{escape(root)}/**/run.json") if not hidden(file.removeprefix(root))]
    except Exception as error:  # each kind of storage has its own: no credentials, no network, no bucket
        raise UserError(f"{where} cannot be read ({error})") from error
    return [open_run(where.fs.unstrip_protocol(file).removesuffix("/run.json")) for file in sorted(files)]


def hidden(path: str) -> bool:
    """Whether it lies in a folder whose name begins with a dot: a run that another one replaced."""
    return "/." in f"/{path}"


def open_run(folder: str | Path) -> Run:
    """Read a run's description; its `problem` says what is wrong with it.

    Raises:
        UserError: `folder` is a URL that cannot be read.
    """
    path = location(folder)
    meta, wrong = description(path)
    if wrong:
        return Run(path, {}, wrong)
    run = Run(path, meta)
    try:
        done = len(clip_table(run)) if run.usable and not meta["finished"] else 0
    except UserError as error:
        return Run(path, {}, str(error).removeprefix(f"{path}: "))
    if meta["finished"]:
        return run
    so_far = f"{done} of {meta['clips']} clips so far"
    command = "import-predictions" if meta.get("imported") else "record"
    return Run(path, meta, f"recording has not finished: {so_far}; the same `sth {command}` command resumes it")


def description(path: Path) -> tuple[dict[str, Any], str]:
    """(what run.json says, what is wrong with it); one of them is empty. The tables are not looked at."""
    try:
        said = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except Exception as error:  # torn, no object, no such file; object storage has errors of its own
        return {}, f"run.json cannot be read ({why_unread(error)})"
    wrong = wrong_in(said)
    return ({}, wrong) if wrong else (EARLIER_RECORDINGS | said, "")


def kinds_of(features: bool) -> tuple[str, ...]:
    """The kinds of tables of a recording, with or without features; the last one is that of predictions."""
    return ("features", *SHARD_KINDS) if features else SHARD_KINDS


def run_work(folder: Path, facts: dict[str, Any], keys: tuple[str, ...] = RECORDING) -> Work:
    """The recording into `folder` that run.json describes by `facts`; `keys` of them make it the same as another."""
    identity = {key: facts[key] for key in keys if key in facts}
    return Work(folder, "run.json", "recording", identity, OWNED, EARLIER_RECORDINGS)


def predictions(run: Run) -> ClipTable:
    """A row per clip, ordered by clip_id: see docs/run-directory.md. `correct` is missing where it is unknown
    (`with_correctness`).

    In a run that was recorded before there was a column `group`, each clip is a group of its own.

    Raises:
        UserError: there are none, they cannot be read, or a clip stands twice.
    """
    table = clip_table(run, None).to_pandas().drop(columns="shard").astype({"label": str, "prediction": str})
    table = with_correctness(table, run.meta["classes"])
    return ClipTable(table if "group" in table else table.assign(group=table["clip_id"]))


def failures(run: Run) -> pd.DataFrame:
    """A row per clip that could not be read: clip_id, path, reason. Raises UserError: the table cannot be read."""
    path = run.path / "failures.parquet"
    try:
        if not path.is_file() and not (isinstance(path, Path) and os.path.lexists(path)):  # a folder, a link to nowhere
            return pd.DataFrame(columns=FAILURE_COLUMNS)
        table = read_shard(path)
        check_schema(table.schema, FAILURE_COLUMNS)
        return table.to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{run.path}: failures.parquet cannot be read ({why_unread(error)})") from error


def clips_of(run: Run, more: tuple[str, ...] = ALL_BUT_SCORES) -> pd.DataFrame:
    """A row per clip, ordered by clip_id, without the scores, which are most of a run, or with `more` columns alone.

    Returns:
        `CLIP_COLUMNS` (`correct` as in `predictions`) and `OPTIONAL_COLUMNS` (NaN in a run that has not recorded it),
        frame (the middle one that the network saw, where the run knows it), group (its source video; in runs of earlier
        versions the clip itself), shard (the name of its Parquet file). label, prediction and shard are categories.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    clips = with_correctness(clip_table(run, more, with_middle_frame).to_pandas(), run.meta["classes"])
    for name in ("label", "prediction"):
        clips[name] = clips[name].cat.reorder_categories(sorted(clips[name].cat.categories))
    unknown = {name: np.nan for name in OPTIONAL_COLUMNS if name in more and name not in clips}
    return clips.assign(**unknown) if "group" in clips else clips.assign(group=clips["clip_id"], **unknown)


def with_middle_frame(rows: pa.Table) -> pa.Table:
    """The middle one of `frame_indices` as frame, in their place."""
    if "frame_indices" not in rows.column_names:
        return rows
    frames = rows["frame_indices"].combine_chunks()
    middle = pc.add(frames.offsets[:-1], pc.divide(frames.value_lengths(), 2))
    return rows.drop_columns("frame_indices").append_column("frame", frames.values.take(middle))


def clip_table(
    run: Run, more: tuple[str, ...] | None = ALL_BUT_SCORES, each: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> pa.Table:
    """`CLIP_COLUMNS`, those of `more` (None: of all) that there are, and shard; ordered by clip_id. Of each shard, what
    `each` makes of its rows.

    Raises:
        UserError: there are none, they cannot be read, or a clip stands twice.
    """
    shard_rows = map_shards(run, "predictions", CLIP_COLUMNS, ("label", "prediction"), more, each)
    tables = [with_shard(rows, name) for name, rows in shard_rows]
    try:
        table = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
        check_values(table)
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{run.path}: its predictions cannot be read (its parts differ: {error})") from error
    if in_order(table["clip_id"]):
        return table
    table = table.take(pc.sort_indices(table["clip_id"]))
    clips = table["clip_id"]
    if len(again := pc.indices_nonzero(pc.equal(clips[1:], clips[:-1]))):
        first, second = again[0].as_py(), again[0].as_py() + 1
        places = " and ".join(sorted({str(table["shard"][i]) for i in (first, second)}))
        raise UserError(f"{run.path}: {clips[first]} stands twice in its predictions ({places}); record it again")
    return table


def with_shard(rows: pa.Table, name: str) -> pa.Table:
    """With the name of the shard as the last column; a stored sample has the names."""
    if "shard" in rows.column_names:
        return rows.drop_columns("shard").append_column("shard", rows["shard"])
    return rows.append_column("shard", pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), [name]))


def all_of(run: Run) -> Run:
    """The run of which a sample was read."""
    return replace(run, every=1, stored=None)


def count_clips(run: Run) -> int:
    """How many clips have a prediction, in all shards, also where a sample of the run is read.

    Raises:
        UserError: as `map_shards`.
    """
    if run.stored:
        return run.stored.clips
    return sum(rows for _, rows in map_shards(all_of(run), "predictions", ("clip_id",), (), (), len))


def read_shards(
    run: Run, kind: str, columns: tuple[str, ...], repeated: tuple[str, ...], more: tuple[str, ...] | None = ()
) -> Iterator[tuple[str, pa.Table]]:
    """`map_shards` of a run's shards, as they are."""
    return map_shards(run, kind, columns, repeated, more, lambda rows: rows)


def map_shards(
    run: Run,
    kind: str,
    columns: tuple[str, ...],
    repeated: tuple[str, ...],
    more: tuple[str, ...] | None,
    each: Callable[[pa.Table], Result],
    *,
    shard: str | None = None,
) -> Iterator[tuple[str, Result]]:
    """The shards of a run, or the one of this name: the name of each, and what `each` makes of these columns, with
    those of `more` (None: all others) that it has. Texts that are `repeated` from row to row are read as dictionaries.
    Several threads read, a few shards ahead of those that are asked for. A stored sample that has all these columns is
    read in place of the shards, by files of its own.

    Raises:
        UserError: there are no shards, they lack one of the columns, or they cannot be read.
    """
    sampled = more is not None and {*columns, *more}.issubset(SAMPLED.get(kind, ()))
    stored = run.stored if run.every > 1 and shard is None and sampled else None
    wanted = None if more is None else {*more, "shard"}  # which the predictions of a stored sample have
    files = [file for file in shards(stored.folder if stored else run.path, kind) if shard in (None, file.name)]
    if not files:
        raise UserError(f"{run.path} holds no {kind}")

    def read(file: Path) -> tuple[str, Result]:
        try:
            with file.open("rb") as opened:
                metadata = pq.read_metadata(opened)
                schema = metadata.schema.to_arrow_schema()
                check_schema(schema, columns)
                parquet = open_shard(opened, metadata=metadata, read_dictionary=list(repeated))
                there = [name for name in schema.names if (wanted is None or name in wanted) and name not in columns]
                table = parquet.read([*columns, *there], use_threads=False)
                check_values(table)
        except (pa.ArrowException, OSError, ValueError) as error:
            where = f"{file.name}: {why_unread(error)}"
            if stored:
                where = f"{SAMPLE_FOLDER}/{kind}/{where}; if you delete {SAMPLE_FOLDER}, all files are read"
            raise UserError(f"{run.path}: its {kind} cannot be read ({where})") from error
        if run.every > 1 and not stored and shard is None and "clip_id" in columns:
            table = sample_clips(table, run.every, file.name)
        return file.name, each(table)

    yield from ahead(read, files)


def clip_of(run: Run, clip: pd.Series) -> pd.Series:
    """All columns of the prediction of one of `clips_of`'s clips."""

    def rows_of(table: pa.Table) -> pd.DataFrame:
        return table.filter(pc.equal(table["clip_id"], clip["clip_id"])).to_pandas()

    [(_, found)] = map_shards(run, "predictions", CLIP_COLUMNS, (), None, rows_of, shard=clip["shard"])
    return with_correctness(found, run.meta["classes"]).iloc[0]


def has_clip(run: Run, clip_id: str) -> bool:
    """Whether a clip has a prediction, in all shards, also where a sample of the run is read. Raises UserError."""
    found = query(run, "predictions", "SELECT 1 FROM {files} WHERE clip_id = ? LIMIT 1", [clip_id])
    return len(found) > 0


def query(run: Run, kind: str, sql: str, values: list[Any] | None = None) -> pd.DataFrame:
    """Run `sql`, in which {files} means the run's shards of this kind. DuckDB does not look at their checksums."""
    files = shards(run.path, kind)
    if not files:
        raise UserError(f"{run.path} holds no {kind}")
    table = f"read_parquet([{', '.join(map(_quoted, files))}])"
    # In memory, one for each call: sessions share nothing. Several threads would add in another order each time, and
    # the last digits of a sum would change.
    with QUERIES, duckdb.connect(config={"threads": 1}) as connection:
        try:
            if not isinstance(run.path, Path):
                connection.register_filesystem(run.path.fs)
            return connection.execute(sql.format(files=table), values or []).df()
        except duckdb.Error as error:
            raise UserError(f"{run.path}: its {kind} cannot be read ({str(error).splitlines()[0]})") from error


def _quoted(path: Path) -> str:
    """As SQL; DuckDB takes the name of a file that is not local for a pattern."""
    name = str(path) if isinstance(path, Path) else escape(str(path))
    return "'" + name.replace("'", "''") + "'"
