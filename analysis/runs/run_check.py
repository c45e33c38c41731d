"""What run.json and the tables of a run must hold to be shown; whatever reads a run goes through these checks.

A run directory may have been copied halfway, edited, or written by another program: one whose numbers cannot be trusted
is left out by name, with the reason.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

MODALITIES = {"rgb": "RGB", "flow": "Flow", "rgb+flow": "RGB + Flow"}
LONGEST_SHOWN = 60  # characters of a value in a sentence
ROUNDING = 1e-3  # of float16 and float32 sums, by which an α may leave [0, 1]
INCOMPLETE = "{}: its attention does not cover all clips and layers once; record it again"
Check = tuple[Callable[[Any], bool], str]  # whether a value fits, and what would


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def are_classes(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_text, value)) and len(set(value)) == len(value)


def are_layers(value: Any) -> bool:
    keys = {"index", "layer", "stage"}
    return isinstance(value, list) and all(isinstance(layer, dict) and keys <= layer.keys() for layer in value)


TEXT: Check = (is_text, "a text")
COUNT: Check = (is_count, "a whole number from 0")
FLAG: Check = (is_flag, "true or false")
# Of what commands and pages read; each but for NEEDED may be missing.
KEYS: dict[str, Check] = {
    "dataset": TEXT,
    "modality": (lambda value: value in list(MODALITIES), f"one of {', '.join(MODALITIES)}"),
    "temporal_fraction": (is_fraction, "a number from 0 to 1"),
    "classes": (are_classes, "a list of different names"),
    "clips": COUNT,
    "checkpoint_sha256": TEXT,
    "finished": TEXT,
    **dict.fromkeys(
        ("arch", "conv", "data", "label", "split", "split_from", "groups_from", "group_pattern", "checkpoint", "start",
         "started", "command"), TEXT,
    ),
    **dict.fromkeys(("seed", "trained_clips"), COUNT),
    **dict.fromkeys(("attention", "direction", "vectors"), FLAG),
    "layers": (are_layers, "a list of layers"),
    **dict.fromkeys(("protocol", "versions"), (lambda value: isinstance(value, dict), "a JSON object")),
    **dict.fromkeys(("fused", "relabelled"), (lambda value: isinstance(value, list), "a list")),
}  # fmt: skip
NEEDED = {"dataset", "modality", "temporal_fraction", "classes", "clips", "checkpoint_sha256", "finished"}
MAY_BE_NULL = {"finished", "seed", "trained_clips", "split_from", "groups_from", "arch", "conv", "start"}  # not known


def wrong_in(meta: Any) -> str:
    """What is wrong with what run.json says; empty if nothing is. Keys that this version does not know may be there."""
    if not isinstance(meta, dict):
        return f"run.json holds {shown(meta)}, not a JSON object"
    if missing := NEEDED - meta.keys():
        return f"run.json lacks {', '.join(sorted(missing))}"
    for key, (fits, what) in KEYS.items():
        if key not in meta or (meta[key] is None and key in MAY_BE_NULL):
            continue
        if not fits(meta[key]):
            return f"run.json has {key} = {shown(meta[key])}, which is not {what}"
    return ""


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def is_texts(kind: pa.DataType) -> bool:
    return bool(
        pt.is_string(kind) or pt.is_large_string(kind) or (pt.is_dictionary(kind) and is_texts(kind.value_type))
    )


def is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind))


# The columns that are read, by name; where a type may differ between versions, all of them fit.
COLUMNS: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    **dict.fromkeys(("clip_id", "label", "prediction", "path", "layer", "stage", "group"), (is_texts, "text")),
    **dict.fromkeys(("confidence", "margin", "disagreement", "alpha_temporal"), (is_number, "a number")),
    "layer_index": (pt.is_integer, "a whole number"),
    "correct": (pt.is_boolean, "true or false"),
    **dict.fromkeys(("scores", "frame_indices"), (is_list, "a list")),
}
MAY_BE_MISSING = {"correct", "confidence", "margin", "disagreement", "path"}  # in a row: of scores that are not finite


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
    """Raises ValueError: a value is missing where each row must have one, or an α is none (Eq. 3: from 0 to 1)."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and name not in MAY_BE_MISSING:
            raise ValueError(f"{column.null_count} of its {len(table)} rows have no {name}")
    if "alpha_temporal" in table.column_names and len(table):
        values = table["alpha_temporal"].to_numpy()
        if not ((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all():  # false for NaN
            raise ValueError("an alpha_temporal is not a number from 0 to 1")
