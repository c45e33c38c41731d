"""Several runs as one: the weighted mean of their scores, clip by clip.

The paper's STH_En averages networks of 8 and of 16 frames; two-stream networks those of RGB and of flow.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs.correctness import correctness, has_scores
from analysis.runs.large_runs import store_sample
from analysis.runs.left_out import clips_left_out, why_unreadable
from analysis.runs.run_directory import (
    FAILURE_COLUMNS,
    RECORDING,
    SHARD_KINDS,
    Run,
    clips_of,
    failures,
    predictions,
    run_work,
)
from sth_core.errors import NOT_FINITE, UserError
from sth_core.resumable import no_report, working_on
from sth_core.shards import Shards, write_table


@dataclass(frozen=True)
class Fusion:
    """What was fused; `left_out` are the clips that are not in all of the runs, by the reason."""

    run: Path
    clips: int
    left_out: dict[str, list[str]]


def fuse(
    runs: list[Run],
    weights: list[float],
    out: Path,
    *,
    command: str = "",
    overwrite: bool = False,
    notify: Callable[[str], None] = no_report,
) -> Fusion:
    """Write a run whose scores are the weighted mean of those of `runs`, over the clips that all of them have.

    Raises:
        UserError: less than two runs, runs that are unfinished or of other classes or labels, weights that are not
            one for each run, not negative and not all zero; or `out` holds another recording.
    """
    validate_fusion(runs, weights)
    for place, times in Counter(run.path.resolve() for run in runs).items():
        if times > 1:
            notify(f"{place} is given {times} times: the weights of all count")
    tables, unscored = [], set()
    for run in runs:
        table = predictions(run).set_index("clip_id")
        finite = has_scores(table)
        unscored |= set(table.index[~finite])
        tables.append(table[finite])
    common = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not common:
        scored = f" whose scores are finite ({len(unscored)} are not)" if unscored else ""
        raise UserError(f"the runs have no clip in common{scored}: " + ", ".join(str(run.path) for run in runs))
    left_out = clips_left_out(runs, [table.index.union(sorted(unscored)) for table in tables])
    if unscored:
        left_out[NOT_FINITE] = sorted(unscored)
    tables = [table.loc[common] for table in tables]
    for run, table in zip(runs, tables, strict=True):
        other = table["label"] != tables[0]["label"]
        if other.any():
            raise UserError(f"{run.path} and {runs[0].path} have different labels for {table.index[other][0]}")
    share = np.array(weights) / sum(weights)
    fused = fused_predictions(tables, share, runs[0].meta["classes"])
    missing = missing_clips(runs, left_out)
    facts = fused_meta(runs, share.tolist(), len(common) + len(missing))
    work = run_work(out, facts, (*RECORDING, "fused"))
    with working_on(work, facts, command=command, overwrite=overwrite, notify=notify) as meta:
        shards = Shards(out, SHARD_KINDS)
        shards.tidy()
        shards.write({"predictions": fused}, number=0)
        write_table(out / "failures.parquet", pd.DataFrame(missing, columns=FAILURE_COLUMNS))
        store_sample(out, meta, notify)
    return Fusion(out, len(common), left_out)


def missing_clips(runs: list[Run], left_out: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Rows of `FAILURE_COLUMNS` of the clips that are left out by these reasons, with what the runs say of them."""
    unread = pd.concat([failures(run) for run in runs]).drop_duplicates("clip_id").set_index("clip_id")
    read = pd.concat([clips_of(run, ("path",)) for run in runs]).drop_duplicates("clip_id").set_index("clip_id")
    rows = []
    for reason, clips in left_out.items():
        for clip in clips:
            path, why = unread.loc[clip, ["path", "reason"]] if clip in unread.index else (read["path"][clip], "")
            said = why if why == NOT_FINITE else f"{reason} ({why})" if why else reason
            rows.append((clip, "" if pd.isna(path) else path, said))
    return sorted(rows)


def validate_fusion(runs: list[Run], weights: list[float]) -> None:
    """Raise a UserError for runs and weights that cannot be fused."""
    if len(runs) < 2:
        raise UserError(f"fusing needs at least two runs, got {len(runs)}")
    if len(weights) != len(runs) or not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
        raise UserError(
            f"there must be a finite weight for each of the {len(runs)} runs, none below 0, one above 0, got {weights}"
        )
    for run in runs:
        if run.problem:
            raise UserError(f"{run.path}: {run.problem}")
        if run.meta["classes"] != runs[0].meta["classes"]:
            raise UserError(f"{run.path} and {runs[0].path} do not have the same classes")
        if reason := why_unreadable(run):
            raise UserError(f"{run.path}: {reason}")


def fused_predictions(tables: list[pd.DataFrame], share: NDArray[np.float64], classes: list[str]) -> pd.DataFrame:
    """The predictions of the weighted mean; `tables` are the runs' predictions of the same clips, in one order."""
    first = pd.DataFrame({"flow": "", "backward": False, "segment": "", "bytes": 0}, tables[0].index).assign(
        **tables[0]
    )  # new in later versions
    of_runs = np.stack([np.stack(list(table["scores"])) for table in tables])  # runs x clips x classes
    scores = np.tensordot(share, of_runs, 1)
    best = scores.argmax(1)
    prediction = pd.Series(np.array(classes, object)[best], first.index)
    results = {
        "prediction": prediction,
        "correct": correctness(prediction, first["label"], classes),
        "confidence": scores.max(1),
        "margin": scores.max(1) - (np.sort(scores, 1)[:, -2] if len(classes) > 1 else 0),
        "disagreement": (of_runs.argmax(2) != best).mean(0),
        "scores": list(scores.astype(np.float32)),
        "view_scores": [list(of_clip) for of_clip in of_runs.swapaxes(0, 1)],
        **({"frame_indices": first["frame_indices"]} if "frame_indices" in first else {}),
    }
    columns = ["clip_id", "path", "label", *results, "flow", "backward", "segment", "group", "bytes"]
    return first.assign(**results).reset_index()[columns]


def fused_meta(runs: list[Run], weights: list[float], clips: int) -> dict[str, Any]:
    """What run.json says of the fused run: what the runs have in common, and what was fused."""
    meta = dict(runs[0].meta)
    for key in ("arch", "conv", "frames", "width"):
        values = sorted({str(run.meta.get(key, "")) for run in runs})
        meta[key] = " + ".join(values) if len(values) > 1 else meta.get(key)
    for key in ("seed", "start", "trained_on"):
        if len({run.meta.get(key) for run in runs}) > 1:
            meta.pop(key, None)
    meta["modality"] = "rgb+flow" if len({run.meta["modality"] for run in runs}) > 1 else meta["modality"]
    of = [
        {"run": run.name, "checkpoint_sha256": run.meta["checkpoint_sha256"], "weight": weight, "p": run.p}
        for run, weight in zip(runs, weights, strict=True)
    ]
    meta.pop("signal", None)
    kept: dict[str, Any] = {"attention": False, "vectors": False, "layers": [], "relabelled": []}
    imported = [run.meta["imported"] for run in runs if "imported" in run.meta]
    meta.pop("imported", None)
    if invented := [facts for facts in imported if facts["invented"]]:
        kept["imported"] = invented[0]
    trained = [run.meta["trained_clips"] for run in runs if run.meta.get("trained_clips")]
    if trained:
        kept["trained_clips"] = min(max(trained), clips)
    return meta | kept | {"clips": clips, "fused": of, "checkpoint": "", "checkpoint_sha256": "", "recipe": {}}
