"""What run.json and the tables of a run must hold to be shown; whatever reads a run goes through these checks.

A run directory may have been copied halfway, edited, or written by another program: one whose numbers cannot be trusted
is left out by name, with the reason.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from sth_core.datasets.table import DATASET_KINDS
from sth_core.errors import shorten
from sth_core.values import PRECISIONS, Between, OneOf, describe_values, fits

MODALITIES = {"rgb": "RGB", "flow": "Flow", "rgb+flow": "RGB + Flow"}
ROUNDING = 1e-3  # of float16 and float32 sums, by which an α may leave [0, 1]
INCOMPLETE = "{}: its attention does not cover all clips and layers once; record it again"


@dataclass(frozen=True)
class Different:
    """A list of at least one item, none of which stands twice."""

    def holds(self, value: Collection[Any]) -> bool:
        return 0 < len(value) == len(set(value))

    def __str__(self) -> str:
        return "of different names"


@dataclass(frozen=True)
class With:
    """A table that has these names, and perhaps others."""

    names: tuple[str, ...]

    def holds(self, value: dict[str, Any]) -> bool:
        return value.keys() >= set(self.names)

    def __str__(self) -> str:
        return f"with {', '.join(self.names)}"


Whole = Annotated[int, Between(0, 2**53 - 1)]
# Of what commands and pages read; each but for NEEDED may be missing.
KEYS: dict[str, Any] = {
    "dataset": str,
    "modality": Annotated[str, OneOf(MODALITIES)],
    "temporal_fraction": Annotated[float, Between(0, 1)],
    "classes": Annotated[tuple[str, ...], Different()],
    "clips": Whole,
    "checkpoint_sha256": str,
    "finished": str,
    **dict.fromkeys(
        ("arch", "conv", "data", "label", "split", "split_from", "groups_from", "group_column", "group_pattern",
         "checkpoint", "start", "started", "command", "trained_on", "device", "cuda", "cudnn", "form", "compiled"), str,
    ),
    **dict.fromkeys(("seed", "trained_clips"), Whole),
    **dict.fromkeys(("attention", "direction", "vectors", "features"), bool),
    "layers": tuple[Annotated[dict, With(("index", "layer", "stage"))], ...],
    **dict.fromkeys(("protocol", "versions", "recipe"), dict),
    "signal": Annotated[str, OneOf(("alpha", "time_share"))],
    "uniform_share": Annotated[float, Between(0, 1)],
    "imported": Annotated[dict, With(("file", "columns", "softmax", "invented"))],
    "kind": Annotated[str, OneOf(("", *DATASET_KINDS))],
    "precision": Annotated[str, OneOf(PRECISIONS)],
    **dict.fromkeys(("fused", "relabelled"), list),
}  # fmt: skip
NEEDED = {"dataset", "modality", "temporal_fraction", "classes", "clips", "checkpoint_sha256", "finished"}
MAY_BE_NULL = {"finished", "seed", "trained_clips", "split_from", "groups_from", "arch", "conv", "start"}  # not known


def wrong_in(meta: Any) -> str:
    """What is wrong with what run.json says; empty if nothing is. Keys that this version does not know may be there."""
    if not isinstance(meta, dict):
        return f"run.json holds {shorten(meta)}, not a JSON object"
    if missing := NEEDED - meta.keys():
        return f"run.json lacks {', '.join(sorted(missing))}"
    for key, hint in KEYS.items():
        if key not in meta or (meta[key] is None and key in MAY_BE_NULL):
            continue
        if not fits(meta[key], hint):
            return f"run.json has {key} = {shorten(meta[key])}, which is not {describe_values(hint)}"
    return ""


def is_texts(kind: pa.DataType) -> bool:
    return bool(
        pt.is_string(kind) or pt.is_large_string(kind) or (pt.is_dictionary(kind) and is_texts(kind.value_type))
    )


def is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind))


def is_numbers(kind: pa.DataType) -> bool:
    return is_list(kind) and bool(is_number(kind.value_type) or pt.is_null(kind.value_type))


WEIGHTS = ("alpha_temporal", "time_share")
TEXTS = ("clip_id", "label", "prediction", "path", "flow", "segment", "layer", "stage", "group", "probe")
# The columns that are read, by name; where a type may differ between versions, all of them fit.
COLUMNS: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    **dict.fromkeys(TEXTS, (is_texts, "text")),
    **dict.fromkeys(
        ("confidence", "margin", "disagreement", *WEIGHTS, "extra_share", "score_label"), (is_number, "a number")
    ),
    "layer_index": (pt.is_integer, "a whole number"),
    "bytes": (pt.is_integer, "a whole number"),
    **dict.fromkeys(("correct", "backward"), (pt.is_boolean, "true or false")),
    **dict.fromkeys(("scores", "frame_indices", "features"), (is_numbers, "a list of numbers")),
    "view_scores": (lambda kind: is_list(kind) and is_numbers(kind.value_type), "a list of lists of numbers"),
}
# In a row: of scores that are not finite, or recorded by a version that did not know them.
MAY_BE_MISSING = {
    "correct", "confidence", "margin", "disagreement", "path", "flow", "segment", "bytes", "backward", "view_scores",
}  # fmt: skip


def check_schema(schema: pa.Schema, needed: Iterable[str]) -> None:
    """Raises ValueError: a table lacks one of the columns, or one that is read has another type."""
    if lacking := set(needed) - set(schema.names):
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    if doubled := sorted(name for name, n in Counter(schema.names).items() if n > 1):
        raise ValueError(f"it has {doubled[0]} twice")
    for field in schema:
        fits, what = COLUMNS.get(field.name, (None, ""))
        if fits and not (fits(field.type) or pt.is_null(field.type)):  # null: of a table without rows
            raise ValueError(f"its {field.name} is {field.type}, not {what}")


def check_values(table: pa.Table) -> None:
    """Raises ValueError: a value is missing where each row must have one, or an α (Eq. 3) or a share of attention is
    not from 0 to 1."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and name not in MAY_BE_MISSING:
            raise ValueError(f"{column.null_count} of its {len(table)} rows have no {name}")
    if (
        "frame_indices" in table.column_names
        and pc.any(pc.equal(pc.list_value_length(table["frame_indices"]), 0)).as_py()
    ):
        raise ValueError("a row's frame_indices are empty")
    for name in WEIGHTS if len(table) else ():
        if name not in table.column_names:
            continue
        values = table[name].to_numpy()
        if not ((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all():  # false for NaN
            raise ValueError(f"{'an' if name.startswith('a') else 'a'} {name} is not a number from 0 to 1")
