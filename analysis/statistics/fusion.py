"""Several runs as one: the weighted mean of their scores, clip by clip (STH_En, two streams).

The paper's STH_En averages networks of 8 and of 16 frames; two-stream networks those of RGB and of flow.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.run_directory import Run, failures, predictions
from analysis.runs.writing import FAILURE_COLUMNS, now, write_table
from sth_core.errors import UserError
from sth_core.files import write_json


@dataclass(frozen=True)
class Fused:
    run: Path
    clips: int
    left_out: int  # clips that not all runs have


def fuse(runs: list[Run], weights: list[float], out: Path, command: str = "") -> Fused:
    """Write a run whose scores are the weighted mean of those of `runs`, over the clips that all of them have.

    Raises:
        UserError: less than two runs, runs that are unfinished or of other classes or labels, or weights
            that are not one for each run, not negative and not all zero.
    """
    if len(runs) < 2:
        raise UserError(f"fusing needs at least two runs, got {len(runs)}")
    if len(weights) != len(runs) or min(weights) < 0 or not sum(weights):
        raise UserError(f"there must be a weight for each of the {len(runs)} runs, none below 0, got {weights}")
    for run in runs:
        if run.problem:
            raise UserError(f"{run.path}: {run.problem}")
        if run.meta["classes"] != runs[0].meta["classes"]:
            raise UserError(f"{run.path} and {runs[0].path} have not the same classes")
    if (out / "run.json").exists():
        raise UserError(f"{out} holds a run already; choose another folder")
    tables = [predictions(run).set_index("clip_id") for run in runs]
    common = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not common:
        raise UserError("the runs have no clip in common: " + ", ".join(str(run.path) for run in runs))
    tables = [table.loc[common] for table in tables]
    first, classes = tables[0], runs[0].meta["classes"]
    for run, table in zip(runs, tables, strict=True):
        if not (table["label"] == first["label"]).all():
            clip = first.index[table["label"] != first["label"]][0]
            raise UserError(f"{run.path} and {runs[0].path} have different labels for {clip}")
    share = np.array(weights) / sum(weights)
    scores = sum(w * np.stack(list(table["scores"])) for w, table in zip(share, tables, strict=True))
    best = scores.argmax(1)
    of_each = np.stack([np.stack(list(table["scores"])).argmax(1) for table in tables])  # runs x clips
    fused = pd.DataFrame(
        {
            "clip_id": common,
            "path": first["path"].to_numpy(),
            "label": first["label"].to_numpy(),
            "prediction": [classes[i] for i in best],
            "correct": [classes[i] == label for i, label in zip(best, first["label"], strict=True)],
            "confidence": scores.max(1),
            "margin": scores.max(1) - (np.sort(scores, 1)[:, -2] if len(classes) > 1 else 0),
            "disagreement": (of_each != best).mean(0),
            "scores": list(scores.astype(np.float32)),
            "view_scores": [[table["scores"].iloc[i] for table in tables] for i in range(len(common))],
            "frame_indices": first["frame_indices"].to_numpy(),
            "flow": first["flow"].to_numpy() if "flow" in first else "",
            "backward": first["backward"].to_numpy() if "backward" in first else False,
            "group": first["group"].to_numpy(),
        }
    )
    missing = sorted(set().union(*(set(failures(run)["clip_id"]) for run in runs)) - set(common))
    write_table(out / "predictions" / "part-00000.parquet", fused)
    rows = [(clip, "", "not in all of the runs that were fused") for clip in missing]
    write_table(out / "failures.parquet", pd.DataFrame(rows, columns=FAILURE_COLUMNS))
    (out / "attention").mkdir(exist_ok=True)
    write_json(out / "run.json", fused_meta(runs, share.tolist(), len(fused), len(missing), command))
    return Fused(out, len(fused), max(len(table) for table in map(predictions, runs)) - len(fused))


def fused_meta(runs: list[Run], weights: list[float], clips: int, missing: int, command: str) -> dict[str, object]:
    """What the runs have in common, and what was fused."""
    meta = dict(runs[0].meta)
    for key in ("arch", "conv", "frames", "width"):
        values = sorted({str(run.meta.get(key, "")) for run in runs})
        meta[key] = " + ".join(values) if len(values) > 1 else meta.get(key)
    meta["modality"] = "rgb+flow" if len({run.meta["modality"] for run in runs}) > 1 else meta["modality"]
    of = [
        {"run": run.name, "checkpoint_sha256": run.meta["checkpoint_sha256"], "weight": weight}
        for run, weight in zip(runs, weights, strict=True)
    ]
    changed = {
        "attention": False,
        "vectors": False,
        "layers": [],
        "clips": clips + missing,
        "fused": of,
        "command": command,
    }
    return meta | changed | {"checkpoint": "", "checkpoint_sha256": "", "started": now(), "finished": now()}
