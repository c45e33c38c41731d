"""Parts of a run, and of what was computed of it, that cannot be used: they are set aside and made anew."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.runs.run_check import check_schema, check_values
from analysis.runs.run_directory import CLIP_COLUMNS
from analysis.runs.signals import ALPHA, TIME_SHARE
from sth_core.errors import first_few
from sth_core.files import MAY_BE_WHOLE, sync, why_unread
from sth_core.resumable import Work, replaced_folder
from sth_core.shards import PART_NAME, Shards, read_shard, shards
from sth_core.video.reorder import REVERSED, SHUFFLED

# By kind of table: the columns that tell its rows apart, and those that there must be beside them. The tables of
# `trust` must have those of their first part.
ROWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "predictions": (("clip_id",), CLIP_COLUMNS),
    "attention": (("clip_id", "layer_index"), ("layer", "stage", ALPHA.column)),
    "features": (("clip_id",), ("features",)),
    "probes": (("clip_id", "probe", "repeat"), ("label", "prediction", "correct", "score_label")),
    "effects": (("clip_id", "place", "kind"), ("label", "plain_prediction", "prediction", "correct", "score_label")),
}
KEYS_OF_TRUST = {
    "curves": ("clip_id", "explanation", "way", "direction", "baseline"),
    "frames": ("clip_id", "explanation", "frame"),
    "randomised": ("clip_id", "explanation", "part"),
    "alpha": ("clip_id", "place", "kind"),
    "costs": ("clip_id", "explanation"),
    "clips": ("clip_id",),
}
NEEDED_PROBES = ("plain", REVERSED, SHUFFLED)  # by which clips and classes are ranked
MAY_BE_NAN = {"score_label", "alpha_temporal"}  # of a label that the network does not know, or without attention
Tables = dict[str, pa.Table]


def set_aside_damaged(
    work: Work, parts: Shards, notify: Callable[[str], None], check: Callable[[Tables], None] = lambda _: None
) -> None:
    """Move each part that cannot be used to FOLDER/.replaced-N, with its tables of all kinds, and tell `notify`.

    Call it with the folder locked. `check` raises ValueError for the tables, by kind, of a part that is damaged."""
    damaged = damaged_parts(parts, check)
    if not damaged:
        return
    target = replaced_folder(work.folder)
    for name in damaged:
        for file in files_of_part(parts, name).values():
            moved = target / file.relative_to(parts.folder)
            moved.parent.mkdir(parents=True, exist_ok=True)
            file.rename(moved)
            sync(file.parent)
    sync(target)
    listed = first_few([f"{name} ({why})" for name, why in damaged.items()])
    parts_moved = "1 damaged part" if len(damaged) == 1 else f"{len(damaged):,} damaged parts"
    notify(f"{parts_moved} moved to {target}, whose clips are done again: {listed}")


def damaged_parts(parts: Shards, check: Callable[[Tables], None] = lambda _: None) -> dict[str, str]:
    """{name: why} of the parts that cannot be used; one whose last table was not written yet is none of them.
    Raises OSError: the system does not let one be read now, which may be whole (`MAY_BE_WHOLE`)."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    columns: dict[str, list[str]] = {}
    for name in sorted({file.name for kind in parts.kinds for file in shards(parts.folder, kind)}):
        try:
            if not PART_NAME.fullmatch(name):
                raise ValueError("no part has such a name")
            files = files_of_part(parts, name)
            if parts.kinds[-1] not in files and all(map(Path.is_file, files.values())):
                continue
            tables = {kind: read_part(file, kind) for kind, file in files.items()}
            check(tables)
            for kind in KEYS_OF_TRUST.keys() & tables.keys():
                if columns.setdefault(kind, tables[kind].column_names) != tables[kind].column_names:
                    raise ValueError(f"its {kind} have other columns than those of the first part")
            clips = set(tables[parts.kinds[-1]]["clip_id"].to_pylist())
            for kind, table in tables.items():
                if set(table["clip_id"].to_pylist()) != clips:
                    raise ValueError(f"its {kind} are of other clips than its {parts.kinds[-1]}")
            if again := sorted(clips & seen):
                raise ValueError(f"{again[0]} stands in another part too")
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            if isinstance(error, OSError) and error.errno in MAY_BE_WHOLE:
                raise
            found[name] = why_unread(error)
        else:
            seen |= clips
    return found


def files_of_part(parts: Shards, name: str) -> dict[str, Path]:
    """{kind: file} of those that there are, also of links to nowhere."""
    files = {kind: parts.folder / kind / name for kind in parts.kinds}
    return {kind: file for kind, file in files.items() if os.path.lexists(file)}


def read_part(file: Path, kind: str) -> pa.Table:
    """The whole table, as damage may lie in any column. Raises what is wrong with it: ArrowException, OSError or
    ValueError."""
    table = read_shard(file)
    keys, others = ROWS.get(kind, (("clip_id",), ()))
    if kind == "attention" and TIME_SHARE.column in table.column_names:
        others = ("layer", "stage", TIME_SHARE.column)
    check_schema(table.schema, (*keys, *others))
    if not len(table):
        raise ValueError("it has no row")
    strict = [name for name in (*keys, *others) if kind == "attention" or name not in MAY_BE_NAN]
    check_values(table.select(list(dict.fromkeys(strict))))
    check_keys(table, [name for name in KEYS_OF_TRUST.get(kind, keys) if name in table.column_names])
    if kind == "probes" and (
        lacking := [name for name in NEEDED_PROBES if name not in set(table["probe"].to_pylist())]
    ):
        raise ValueError(f"it has no {lacking[0]} probe")
    return table


def check_keys(table: pa.Table, columns: list[str]) -> None:
    """Raises ValueError: two rows have the same keys, or one clip has fewer rows than another."""
    if len(table.group_by(columns).aggregate([])) != len(table):
        raise ValueError(f"two of its rows have the same {', '.join(columns)}")
    if len(pc.unique(pc.value_counts(table["clip_id"]).field("counts"))) > 1:
        raise ValueError("a clip has fewer rows than another one")


def part_of(table: pd.DataFrame) -> Callable[[Tables], None]:
    """The check that a part is of clips in this table."""
    known = set(table["clip_id"])

    def check(tables: Tables) -> None:
        for found in tables.values():
            if strange := sorted(set(found["clip_id"].to_pylist()) - known):
                raise ValueError(f"there is no clip {strange[0]}")

    return check


def recorded_part(classes: int, layers: list[int], features: bool = False) -> Callable[[Tables], None]:
    """The check of a part of a recording: scores of each class, the attention of these layers, and features."""
    return partial(check_recorded, classes=classes, layers=layers, features=features)


def check_recorded(tables: Tables, classes: int, layers: list[int], features: bool) -> None:
    predicted, attention = tables["predictions"], tables.get("attention")
    if "scores" in predicted.column_names and set(pc.list_value_length(predicted["scores"]).to_pylist()) != {classes}:
        raise ValueError(f"a clip has not {classes} scores")
    clips = {str(clip) for clip in predicted["clip_id"].to_pylist()}
    if features and (kept := tables.get("features")) is None:
        raise ValueError("its features are missing")
    if features and kept is not None and set(kept["clip_id"].to_pylist()) != clips:
        raise ValueError("its features are not those of its clips")
    if not layers:
        return
    if attention is None:
        raise ValueError("its attention is missing")
    complete = set(attention["clip_id"].to_pylist()) == clips and len(attention) == len(clips) * len(layers)
    if not complete or set(attention["layer_index"].to_pylist()) != set(layers):
        raise ValueError("its attention is not that of its clips and the network's layers")
