"""Run directories that something has damaged: copies of a sound run, each with one fault."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Damage = Callable[[Path, np.random.Generator], None]
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "x", "[red]", [], [None], ["a", "a"], {}, {"a": 1},
)  # fmt: skip
TEXTS = ("dataset", "label", "split", "data", "checkpoint", "checkpoint_sha256", "finished")
FITS: dict[str, Callable[[Any], bool]] = {  # the strange values that a key may have after all
    **dict.fromkeys(TEXTS, lambda value: isinstance(value, str)),
    **dict.fromkeys(("fused", "relabelled"), lambda value: isinstance(value, list)),
    **dict.fromkeys(("seed", "trained_clips"), lambda value: value in (None, 0)),
    "protocol": lambda value: isinstance(value, dict),
    "modality": lambda value: False,
    "temporal_fraction": lambda value: value in (0, 0.5),
    "classes": lambda value: False,
    "clips": lambda value: False,
    "attention": lambda value: value is True,
    "layers": lambda value: value == [],
}
NEEDED_KEYS = ("dataset", "modality", "temporal_fraction", "classes", "clips", "checkpoint_sha256", "finished")


def said_by_run(run: Path) -> Any:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def with_key(key: str, value: Any) -> Damage:
    return lambda run, _: _write(run, json.dumps(said_by_run(run) | {key: value}).encode())


def without_key(key: str) -> Damage:
    return lambda run, _: _write(run, json.dumps({k: v for k, v in said_by_run(run).items() if k != key}).encode())


def with_description(content: bytes) -> Damage:
    return lambda run, _: _write(run, content)


def _write(run: Path, content: bytes) -> None:
    (run / "run.json").write_bytes(content)


def a_part(run: Path, kind: str) -> Path:
    return sorted((run / kind).glob("*.parquet"))[-1]


def of_part(kind: str, change: Callable[[Path, np.random.Generator], None]) -> Damage:
    return lambda run, rng: change(a_part(run, kind), rng)


def of_table(kind: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    return of_part(kind, lambda file, _: change(pd.read_parquet(file)).to_parquet(file, index=False))


def cut(file: Path, rng: np.random.Generator) -> None:
    file.write_bytes(file.read_bytes()[: rng.integers(1, file.stat().st_size)])


def scribble(file: Path, rng: np.random.Generator) -> None:
    """Change bytes of the data and leave the footer, so that the damage appears when a column is read."""
    content = bytearray(file.read_bytes())
    for place in rng.integers(4, len(content) // 2, 40):
        content[place] ^= int(rng.integers(1, 256))
    file.write_bytes(content)


def as_folder(file: Path, _: np.random.Generator) -> None:
    file.unlink()
    file.mkdir()


def as_loop(file: Path, _: np.random.Generator) -> None:
    file.unlink()
    file.symlink_to(file.name)


def emptied(file: Path, _: np.random.Generator) -> None:
    file.write_bytes(b"")


def as_text(file: Path, _: np.random.Generator) -> None:
    file.write_text("clip_id,label\n")


def lost(file: Path, _: np.random.Generator) -> None:
    file.unlink()


def doubled(file: Path, _: np.random.Generator) -> None:
    shutil.copy(file, file.with_name(f"{file.stem} (copy).parquet"))


def stray(file: Path, _: np.random.Generator) -> None:
    pd.DataFrame({"x": [1, 2]}).to_parquet(file.with_name("results.parquet"))


PARTS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "cut": cut, "scribbled": scribble, "empty": emptied, "a folder": as_folder, "a loop": as_loop, "text": as_text,
    "doubled": doubled, "beside a stray one": stray, "lost": lost,
}  # fmt: skip
# A part of attention beside which there is no part of predictions is what a killed recording leaves.
HARMLESS = {("attention", "doubled"), ("attention", "beside a stray one")}
TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no row": lambda t: t.head(0), "rows twice": lambda t: pd.concat([t, t]), "a row lost": lambda t: t.iloc[1:],
    "no clip_id": lambda t: t.drop(columns="clip_id"), "null clip_id": lambda t: t.assign(clip_id=None),
    "numbered clips": lambda t: t.assign(clip_id=range(len(t))),
    "other clips": lambda t: t.assign(clip_id="x" + t["clip_id"]),
}  # fmt: skip
COLUMNS: dict[str, dict[str, tuple[Any, ...]]] = {
    "predictions": {"label": (None, 1), "prediction": (None, 2.0), "confidence": ("high",), "correct": ("yes", 3)},
    "attention": {"alpha_temporal": ("x", None, np.nan, np.inf, -3.0, 7.0), "layer_index": ("a", None, 99)},
}


def with_column(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{column: value})


def of_failures(change: Callable[[Path, np.random.Generator], None]) -> Damage:
    def changed(run: Path, rng: np.random.Generator) -> None:
        pd.DataFrame(columns=["clip_id", "path", "reason"]).to_parquet(run / "failures.parquet")
        change(run / "failures.parquet", rng)

    return changed


def damages() -> dict[str, Damage]:
    """{name: damage} of each kind."""
    strange = [(key, value) for key, fits in FITS.items() for value in STRANGE if not fits(value)]
    found = {f"run.json {key} = {value!r}": with_key(key, value) for key, value in strange}
    found |= {f"run.json without {key}": without_key(key) for key in NEEDED_KEYS}
    contents = {"empty": b"", "an array": b"[]", "cut": b'{"dataset": "a', "no UTF-8": b"\xff\xfe{}", "null": b"null",
                "nested": b"[" * 100_000, "not JSON": b"dataset: a", "NUL": b"\0" * 100}  # fmt: skip
    found |= {f"run.json: {name}": with_description(content) for name, content in contents.items()}
    for kind, columns in COLUMNS.items():
        parts = {name: change for name, change in PARTS.items() if (kind, name) not in HARMLESS}
        found |= {f"{kind}: part {name}": of_part(kind, change) for name, change in parts.items()}
        found |= {f"{kind}: {name}": of_table(kind, change) for name, change in TABLES.items()}
        for column, values in columns.items():
            found |= {f"{kind}: {column} = {value!r}": of_table(kind, with_column(column, value)) for value in values}
            found[f"{kind}: no {column}"] = of_table(kind, partial(pd.DataFrame.drop, columns=column))
    failures = {name: PARTS[name] for name in ("cut", "empty", "a folder", "a loop", "text")}
    return found | {f"failures: {name}": of_failures(change) for name, change in failures.items()}


def damaged_runs(run: Path, out: Path, seed: int, count: int | None = None) -> Iterator[tuple[str, Path]]:
    """(what was done, the damaged copy of `run` in a folder of `out`), all kinds or `count` of them, in an order that
    `seed` gives."""
    rng, kinds = np.random.default_rng(seed), damages()
    for number, i in enumerate(rng.permutation(len(kinds))[:count]):
        name = list(kinds)[i]
        copy = out / f"damaged{number:03d}"
        shutil.copytree(run, copy)
        kinds[name](copy, rng)
        yield name, copy
