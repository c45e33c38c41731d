"""Fusing runs, by hand: the scores, what run.json says of them, and which weights are refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.runs.left_out import unread_sentence
from analysis.runs.run_directory import FAILURE_COLUMNS, Run, failures, open_run
from analysis.statistics.fusion import fuse, fused_meta, fused_predictions, validate_fusion
from benchmarks.made_runs import make_run
from sth_core.errors import NOT_FINITE, UserError
from sth_core.files import write_json
from sth_core.shards import write_table
from tests.test_cli import ends_well
from tests.tiny import write_run


def table(scores: list[list[float]], **more: Any) -> pd.DataFrame:
    """The predictions of one run."""
    rows = {"clip_id": ["u", "v"], "path": ["u.mp4", "v.mp4"], "label": ["a", "c"], "group": ["g", "h"]}
    scored: dict[str, Any] = {"scores": [np.array(row) for row in scores], "frame_indices": [[0, 1], [2, 3]]}
    return pd.DataFrame(rows | scored | more).set_index("clip_id")


def test_fused_predictions_by_hand() -> None:
    one, other = table([[0.8, 0.2, 0.0], [0.2, 0.2, 0.6]]), table([[0.0, 0.6, 0.4], [0.0, 0.2, 0.8]])
    fused = fused_predictions([one, other], np.array([0.25, 0.75]), ["a", "b", "c"])
    assert list(fused) == [
        "clip_id", "path", "label", "prediction", "correct", "confidence", "margin", "disagreement", "scores",
        "view_scores", "frame_indices", "flow", "backward", "segment", "group", "bytes",
    ]  # fmt: skip
    first, second = fused.to_dict("records")
    assert first["scores"].tolist() == pytest.approx([0.2, 0.5, 0.3]) and first["scores"].dtype == np.float32
    assert second["scores"].tolist() == pytest.approx([0.05, 0.2, 0.75])
    assert [(row["prediction"], row["correct"]) for row in (first, second)] == [("b", False), ("c", True)]
    assert [row["confidence"] for row in (first, second)] == pytest.approx([0.5, 0.75])
    assert [row["margin"] for row in (first, second)] == pytest.approx([0.2, 0.55])
    assert [row["disagreement"] for row in (first, second)] == [0.5, 0]  # "a" of the first run is not "b"
    assert np.array(first["view_scores"]).tolist() == [[0.8, 0.2, 0.0], [0.0, 0.6, 0.4]]
    assert (first["clip_id"], first["path"], first["group"], first["frame_indices"]) == ("u", "u.mp4", "g", [0, 1])
    assert [first[name] for name in ("flow", "backward", "segment", "bytes")] == ["", False, "", 0]


def test_what_a_run_says_of_its_clips_is_kept_and_one_class_has_no_second() -> None:
    one = table([[1.0], [1.0]], flow=["f", ""], backward=[True, False], segment=["0-1", ""], bytes=[7, 8])
    fused = fused_predictions([one, one], np.array([0.5, 0.5]), ["a"])
    assert fused[["flow", "backward", "segment", "bytes"]].to_numpy().tolist() == [
        ["f", True, "0-1", 7],
        ["", False, "", 8],
    ]
    assert fused["margin"].tolist() == [1, 1]


def test_clips_that_are_left_out_keep_what_the_runs_say_of_them(tmp_path: Path) -> None:
    """Of 30 clips two are not in a, two not in b, one unreadable in both, one in b; one has no finite scores in a."""
    made = [make_run(tmp_path / "a", 30, 6, 2, seed=0, p=1 / 4), make_run(tmp_path / "b", 30, 6, 2, seed=1, p=1 / 2)]
    ids = sorted(pd.read_parquet(made[0] / "predictions")["clip_id"])
    unread = {"a": {ids[2]: "torn", ids[7]: NOT_FINITE}, "b": {ids[2]: "torn", ids[6]: "empty"}}
    for folder, absent in zip(made, (ids[:2], ids[3:5]), strict=True):
        lost = {*absent, *unread[folder.name]}
        for file in [*folder.glob("predictions/*.parquet"), *folder.glob("attention/*.parquet")]:
            rows = pd.read_parquet(file)
            write_table(file, rows[~rows["clip_id"].isin(lost)])
        rows = [(clip, f"/data/{clip}", why) for clip, why in unread[folder.name].items()]
        pd.DataFrame(rows, columns=FAILURE_COLUMNS).to_parquet(folder / "failures.parquet")
        write_json(folder / "run.json", json.loads((folder / "run.json").read_text()) | {"clips": 28})
    said = ends_well("fuse", *made, "-o", tmp_path / "fused")
    assert "2 clips left out, not in a: " in said and "2 clips left out, not in b: " in said
    assert "1 clip left out, unreadable in a, b: " in said and "23 clips; run: " in said
    fused = open_run(tmp_path / "fused")
    assert fused.title == "made, p = 1/4 + 1/2, RGB" and fused.meta["clips"] == 30
    found = failures(fused).sort_values("clip_id")
    assert list(found["path"]) == [f"/data/{clip}" for clip in [*ids[:5], *ids[6:8]]]
    reasons = ["not in a"] * 2 + ["unreadable in a, b (torn)"] + ["not in b"] * 2
    assert list(found["reason"]) == [*reasons, "unreadable in b (empty)", NOT_FINITE]
    sentences = unread_sentence(fused).split(". ")
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "2 clips could not be read",
        "4 clips left out, as not all fused runs have them",
        "1 clip left out, as the network's scores are not finite (NaN or infinity)",
    ]


def run(name: str, **meta: Any) -> Run:
    facts = {
        "arch": "resnet18",
        "conv": "sth",
        "frames": 8,
        "width": 64,
        "modality": "rgb",
        "dataset": "set",
        "temporal_fraction": 0.25,
    }
    facts |= {"checkpoint": f"{name}.safetensors", "checkpoint_sha256": f"sha of {name}"}
    kept = {"attention": True, "vectors": True, "layers": ["x"], "relabelled": ["y"], "clips": 9}
    return Run(Path("runs") / name, facts | kept | meta)


def test_what_is_said_of_fused_runs_by_hand() -> None:
    meta = fused_meta([run("one"), run("two", frames=16, modality="flow", temporal_fraction=0.5)], [0.25, 0.75], 5)
    assert meta == {
        "arch": "resnet18", "conv": "sth", "frames": "16 + 8", "width": 64, "modality": "rgb+flow", "dataset": "set",
        "temporal_fraction": 0.25, "recipe": {},
        "attention": False, "vectors": False, "layers": [], "relabelled": [], "clips": 5,
        "checkpoint": "", "checkpoint_sha256": "",
        "fused": [
            {"run": "one", "checkpoint_sha256": "sha of one", "weight": 0.25, "p": "1/4"},
            {"run": "two", "checkpoint_sha256": "sha of two", "weight": 0.75, "p": "1/2"},
        ],
    }  # fmt: skip
    assert Run(Path("fused"), meta).p == "1/4 + 1/2"
    same = fused_meta([run("one"), run("two")], [0.5, 0.5], 5)
    assert (same["frames"], same["modality"]) == (8, "rgb") and Run(Path("fused"), same).p == "1/4"


@pytest.mark.parametrize(("trained", "clips", "kept"), [((2, 3), 9, 3), ((2, None), 9, 2), ((7, 8), 5, 5)])
def test_clips_that_a_network_was_trained_on_are_at_most_all(trained: tuple, clips: int, kept: int) -> None:
    runs = [run(str(i), trained_clips=number) for i, number in enumerate(trained)]
    assert fused_meta(runs, [0.5, 0.5], clips)["trained_clips"] == kept


@pytest.mark.parametrize("weights", [[1, -0.5], [0, 0], [1], [1, 1, 1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="a finite weight for each of the 2 runs, none below 0, one above 0"):
        validate_fusion([run("one", classes=["a"]), run("two", classes=["a"])], weights)


def test_weights_from_zero_on_and_other_classes(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, [[0.5]]) for name in ("one", "two")]
    runs = [open_run(path) for path in paths]
    validate_fusion(runs, [0, 0.5])
    with pytest.raises(UserError, match=r"two and .*one do not have the same classes"):
        validate_fusion([runs[0], replace(runs[1], meta=runs[1].meta | {"classes": ["b", "a"]})], [1, 1])
    with pytest.raises(UserError, match="two: it is unfinished"):
        validate_fusion([runs[0], replace(runs[1], problem="it is unfinished")], [1, 1])
    with pytest.raises(UserError, match="at least two runs, got 1"):
        validate_fusion(runs[:1], [1])


def test_one_clip_with_another_label_is_enough_to_refuse(tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        for part in sorted(write_run(tmp_path / name, [[0.5], [0.5]]).glob("*/part-00000.parquet")):
            table = pd.read_parquet(part)
            if "prediction" in table:
                table = table.assign(scores=[[0.9, 0.1]] * 2, label=["a", "b" if name == "one" else "a"])
            table.to_parquet(part)
        runs.append(open_run(tmp_path / name))
    with pytest.raises(UserError, match=r"two and .*one have different labels for c1"):
        fuse(runs, [1, 1], tmp_path / "both")


def test_runs_without_a_common_clip_are_not_fused(tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        for part in sorted(write_run(tmp_path / name, [[0.5]]).glob("*/part-00000.parquet")):
            pd.read_parquet(part).assign(clip_id=name, scores=[[0.9, 0.1]]).to_parquet(part)
        runs.append(open_run(tmp_path / name))
    sentence = f"the runs have no clip in common: {tmp_path / 'one'}, {tmp_path / 'two'}"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        fuse(runs, [1, 1], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_fused_run_is_one_part_and_names_the_clips_that_are_left_out(tmp_path: Path) -> None:
    runs, told = [], list[str]()
    for name, clips in (("one", 3), ("two", 2)):
        path = write_run(tmp_path / name, [[0.5]] * clips)
        part = path / "predictions" / "part-00000.parquet"
        scores = {"scores": [[0.9, 0.1]] * clips, "view_scores": [[[0.9, 0.1]]] * clips, "frame_indices": [[0]] * clips}
        pd.read_parquet(part).assign(path="", group="g", margin=0.8, **scores).to_parquet(part)
        runs.append(open_run(path))
    fused = fuse(runs, [1, 1], tmp_path / "both")
    assert (fused.run, fused.clips) == (tmp_path / "both", 2) and [*fused.left_out.values()] == [["c2"]]
    assert [file.name for file in (fused.run / "predictions").iterdir()] == ["part-00000.parquet"]
    assert open_run(fused.run).meta["clips"] == 3
    assert pd.read_parquet(fused.run / "failures.parquet")["clip_id"].tolist() == ["c2"]
    fuse(runs, [1, 3], tmp_path / "both", overwrite=True, notify=told.append)
    assert told == [f"the earlier recording was moved to {tmp_path / 'both' / '.replaced-1'}"]
