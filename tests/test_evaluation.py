"""The paper's protocols: several views of a video, whose logits are averaged; and runs fused into one."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from analysis.runs.recording import record
from analysis.runs.run_directory import failures, open_run, predictions
from analysis.statistics.accuracy import summarize_accuracy
from analysis.statistics.fusion import fuse
from analysis.statistics.results import paper_results
from analysis.statistics.shares import share_interval
from sth_core import load_checkpoint
from sth_core.datasets.clips import EvaluationClips, Sample
from sth_core.datasets.mirroring import mirror_order
from sth_core.datasets.table import CLIP_COLUMNS, Annotation, read_dataset
from sth_core.errors import UserError
from sth_core.evaluation import in_batches, one_behind, run_over, views_at_once
from sth_core.readers import Readers
from sth_core.shards import shards
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clips
from sth_core.video.sampling import Protocol
from sth_core.video.transforms import Preprocessing, crops, normalise
from tests.tiny import RGB, save_tiny
from workbench.cli import main


@pytest.fixture(scope="module")
def table(scenes_folder: Path) -> pd.DataFrame:
    table = read_dataset(scenes_folder, Annotation(label="motion"))
    return table[table["split"] == "val"].head(3).reset_index(drop=True)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(2, 1), Protocol(10, 1), Protocol(1, 3), Protocol(2, 10)])
def test_the_score_of_a_video_is_the_mean_over_the_logits_of_its_views(protocol, checkpoint, table):
    loaded = load_checkpoint(checkpoint)
    clips = EvaluationClips(table, loaded.classes, RGB, protocol)
    results = list(run_over(loaded.inference_model, clips, RGB, batch_size=7))
    logits = torch.cat([batch.logits for batch in results])
    of_views = torch.cat([batch.view_logits for batch in results])
    assert of_views.shape == (3, protocol.clips * protocol.crops, 12)
    order = mirror_order(loaded.classes)
    for row, path in enumerate(table["path"]):  # one view at a time, by hand
        expected = []
        for clip in read_clips(ClipSource(Path(path)), RGB, clips=protocol.clips)[0]:
            side = 36 if protocol.crops == 3 else 32
            for number, view in enumerate(crops(clip, side, protocol.crops, "rgb")):
                with torch.no_grad():
                    logit = loaded.model(normalise(torch.from_numpy(np.ascontiguousarray(view))[None], RGB))[0]
                expected.append(logit[order] if number >= 5 else logit)  # the last five of ten are mirrored
        torch.testing.assert_close(of_views[row], torch.stack(expected), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[row], torch.stack(expected).mean(0), atol=1e-4, rtol=1e-4)


def test_alpha_is_the_mean_over_the_views(checkpoint: Path, table: pd.DataFrame) -> None:
    loaded = load_checkpoint(checkpoint)
    batch = next(run_over(loaded.inference_model, EvaluationClips(table, loaded.classes, RGB, Protocol(2, 1)), RGB))
    view = batch.samples[0].views
    assert view is not None
    with torch.no_grad():
        _, alone = loaded.model.forward_with_attention(normalise(view, RGB))
    for name, alpha in alone.items():
        torch.testing.assert_close(batch.attention[name][0], alpha.mean(0), rtol=0, atol=1e-5)


def test_a_clip_that_cannot_be_read_is_among_those_that_failed(checkpoint: Path, table: pd.DataFrame) -> None:
    loaded, broken = load_checkpoint(checkpoint), table.assign(path=["gone.mp4", *table["path"][1:]])
    (whole,) = run_over(loaded.inference_model, EvaluationClips(table, loaded.classes, RGB), RGB)
    (batch,) = run_over(loaded.inference_model, EvaluationClips(broken, loaded.classes, RGB), RGB)
    assert [s.row for s in batch.samples] == [1, 2] and [s.row for s in whole.samples] == [0, 1, 2]
    assert [(s.row, s.failure) for s in batch.failed] == [(0, "gone.mp4: no such file")] and not whole.failed
    torch.testing.assert_close(batch.logits, whole.logits[1:], atol=1e-4, rtol=1e-4)


def test_the_views_of_a_result_are_there_until_the_next_one_also_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more batches are read by then, into shared memory that holds only so many clips; here a CPU is the GPU."""

    def read_ahead(readers: Readers, ahead: int, held: int) -> Iterator[Sample]:
        slots = [torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8) for _ in range(held + 1)]
        for row in range(12):
            slots[row % len(slots)].fill_(row)
            yield Sample(row, slots[row % len(slots)], 0, np.arange(2))

    model = SimpleNamespace(
        parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]),
        eval=lambda: None,
        num_classes=12,
        forward_with_attention=lambda x: (x.new_zeros(len(x), 12), {}),
    )
    clips = SimpleNamespace(protocol=Protocol(), read_ahead=read_ahead, unmirror_logits=lambda logits: logits)
    monkeypatch.setattr("sth_core.evaluation.stack_on", lambda device, views: torch.stack(list(views)))
    seen = [
        [(s.row, s.views.unique().tolist()) for s in result.samples]
        for result in run_over(model, clips, RGB, batch_size=2, readers=Readers(0))
    ]
    assert [row for result in seen for row, _ in result] == [*range(12)]
    assert all(values == [row] for result in seen for row, values in result)


def test_each_result_comes_when_the_next_was_begun() -> None:
    begun: list[int] = []
    seen = [(result, len(begun)) for result in one_behind(begun.append(i) or i for i in range(4))]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)] and list(one_behind([])) == []


def test_a_mirrored_view_speaks_for_the_mirrored_class() -> None:
    classes = ["moving left", "moving right", "opening"]
    nothing = pd.DataFrame(columns=CLIP_COLUMNS)
    clips = EvaluationClips(nothing, classes, RGB, Protocol(1, 10))
    logits = torch.tensor([[1.0, 2.0, 3.0]]).repeat(10, 1)
    assert clips.unmirror_logits(logits).tolist() == [[1, 2, 3]] * 5 + [[2, 1, 3]] * 5


def test_no_more_views_at_once_than_asked_for_but_a_whole_video() -> None:
    def lengths(views: int, at_once: int) -> list[int]:
        return [len(group) for group in in_batches([torch.zeros(views, 1)] * 5, at_once)]

    assert lengths(1, 2) == [2, 2, 1]
    assert lengths(3, 7) == [2, 2, 1]
    assert lengths(10, 4) == [1, 1, 1, 1, 1]
    assert [len(group) for group in in_batches([torch.zeros(1, 2), torch.zeros(1, 3)], 8)] == [1, 1]


def test_evaluate_keeps_the_scores_of_each_view_and_prints_intervals(checkpoint, scenes_folder, tmp_path):
    arguments = ["evaluate", str(checkpoint), "--data", str(scenes_folder), "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*arguments, "--clips", "2", "--crops", "3"])
    assert result.exit_code == 0, result.output
    run = open_run(tmp_path / "run")
    table = predictions(run)
    assert run.meta["protocol"]["clips_per_video"] == 2 and not shards(run.path, "attention")
    assert all(len(views) == 6 and np.isclose(np.sum(list(views), 1), 1).all() for views in table["view_scores"])
    right = int(table["correct"].sum())
    low, high = share_interval(np.arange(24) < right, np.arange(24))
    assert f"top-1: {right / 24:.3f} ({low:.3f} to {high:.3f}, 95 % over 24 clips)" in result.output
    again = CliRunner().invoke(main, [*arguments, "--clips", "1"])
    assert again.exit_code == 2 and "holds another recording (protocol.clips_per_video is 2, now 1;" in again.output


def some_predictions(n: int = 60, classes: int = 7) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores, labels = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    scores[np.arange(n), labels] += 0.2
    table = pd.DataFrame({"label": [f"c{i}" for i in labels], "scores": list(scores)})
    return table, scores, labels


def test_a_run_that_was_evaluated_is_not_taken_for_one_that_was_recorded(checkpoint, scenes_folder, tmp_path):
    words = [str(checkpoint), "--data", str(scenes_folder), "-o", str(tmp_path / "run")]
    assert CliRunner().invoke(main, ["evaluate", *words]).exit_code == 0
    assert open_run(tmp_path / "run").meta["attention"] is False
    result = CliRunner().invoke(main, ["record", *words])
    assert result.exit_code == 2 and "holds another recording (attention is False, now True)" in result.output


def test_the_metrics_are_those_of_scikit_learn() -> None:
    table, scores, labels = some_predictions()
    values = summarize_accuracy(table, [f"c{i}" for i in range(7)]).set_index("metric")
    assert values.loc["top-1", "value"] == pytest.approx(top_k_accuracy_score(labels, scores, k=1))
    assert values.loc["top-5", "value"] == pytest.approx(top_k_accuracy_score(labels, scores, k=5))
    expected = balanced_accuracy_score(labels, scores.argmax(1))
    assert values.loc["mean class accuracy", "value"] == pytest.approx(expected)
    assert (values["low"] <= values["value"] + 1e-9).all() and (values["value"] <= values["high"] + 1e-9).all()
    assert 0.1 < values.loc["mean class accuracy", "high"] - values.loc["mean class accuracy", "low"] < 0.4


def test_clips_of_no_known_label_do_not_count() -> None:
    table = pd.DataFrame({"label": ["a", "b", "x"], "scores": [[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]]})
    values = summarize_accuracy(table, ["a", "b"]).set_index("metric")
    assert values["n"].tolist() == [2, 2, 2] and values.loc["top-1", "value"] == 0.5


@pytest.fixture(scope="module")
def two_runs(checkpoint: Path, scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of an RGB network and of a flow network, over the same clips."""
    folder = tmp_path_factory.mktemp("runs")
    flow = save_tiny(folder / "flow.safetensors", seed=1, modality="flow")
    for name, network in (("rgb", checkpoint), ("flow", flow)):
        record(network, scenes_folder, folder / name)
    return [folder / "rgb", folder / "flow"]


def test_fused_scores_are_the_weighted_mean(two_runs: list[Path], tmp_path: Path) -> None:
    command = ["fuse", *map(str, two_runs), "-o", str(tmp_path / "both"), "--weight", "1", "--weight", "3"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    rgb, flow, both = (predictions(open_run(run)) for run in (*two_runs, tmp_path / "both"))
    expected = 0.25 * np.stack(list(rgb["scores"])) + 0.75 * np.stack(list(flow["scores"]))
    np.testing.assert_allclose(np.stack(list(both["scores"])), expected, rtol=1e-6)
    run = open_run(tmp_path / "both")
    assert run.problem == "" and run.modality == "RGB + Flow" and not run.meta["attention"]
    assert [source["weight"] for source in run.meta["fused"]] == [0.25, 0.75]
    classes = np.array(run.meta["classes"])
    assert list(both["prediction"]) == list(classes[expected.argmax(1)])
    assert list(both["correct"]) == list(both["prediction"] == both["label"])


def test_a_clip_that_one_run_lacks_is_left_out_and_named(two_runs: list[Path], tmp_path: Path) -> None:
    part = shards(two_runs[1], "predictions")[0]
    table = pd.read_parquet(part)
    few = tmp_path / "few"
    (few / "predictions").mkdir(parents=True)
    table.iloc[1:].to_parquet(few / "predictions" / part.name)
    (few / "run.json").write_text((two_runs[1] / "run.json").read_text())
    lost = table["clip_id"].iloc[0]
    pd.DataFrame({"clip_id": [lost], "path": ["x"], "reason": ["gone"]}).to_parquet(few / "failures.parquet")
    done = fuse([open_run(two_runs[0]), open_run(few)], [1, 1], tmp_path / "both")
    assert (done.clips, done.left_out) == (23, {"unreadable in few": [lost]})
    assert open_run(tmp_path / "both").meta["command"] == ""
    assert failures(open_run(tmp_path / "both")).to_numpy().tolist() == [[lost, "x", "unreadable in few (gone)"]]


def test_a_run_that_is_given_twice_counts_twice_and_that_is_said(two_runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(two_runs[0])
    said: list[str] = []
    fuse([*map(open_run, two_runs), open_run(tmp_path / "link")], [1, 1, 2], tmp_path / "twice", notify=said.append)
    assert said == [f"{two_runs[0].resolve()} is given 2 times: the weights of all count"]
    fuse([*map(open_run, two_runs)], [3, 1], tmp_path / "once", notify=said.append)
    twice, once = (np.stack(list(predictions(open_run(tmp_path / name))["scores"])) for name in ("twice", "once"))
    np.testing.assert_allclose(twice, once, rtol=1e-6)
    assert len(said) == 1


def test_what_cannot_be_fused_is_refused(two_runs: list[Path], tmp_path: Path) -> None:
    rgb, flow = map(open_run, two_runs)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="fusing needs at least two runs, got 1"):
        fuse([rgb], [1], out)
    with pytest.raises(
        UserError, match=r"a finite weight for each of the 2 runs, none below 0, one above 0, got \[1, -1\]"
    ):
        fuse([rgb, flow], [1, -1], out)
    other = tmp_path / "other"
    other.mkdir()
    meta = json.loads((two_runs[1] / "run.json").read_text()) | {"classes": ["a", "b"]}
    (other / "run.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="do not have the same classes"):
        fuse([rgb, open_run(other)], [1, 1], out)
    with pytest.raises(UserError, match=r"holds another recording \(.*fused is None, now .*choose another folder"):
        fuse([rgb, flow], [1, 1], two_runs[0])
    assert not out.exists()


def test_results_shows_runs_and_the_paper_apart(two_runs: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    result = CliRunner().invoke(main, ["results", str(two_runs[0].parent), "--csv", str(file)])
    assert result.exit_code == 0, result.output
    assert "The paper's Table 2: Something-Something V1" in result.output
    paper, runs = result.output.split("Runs in ")
    assert "46.8" in paper and "rgb" in runs and "46.8" not in runs
    table = pd.read_csv(file).set_index("run")
    right = predictions(open_run(two_runs[0]))["correct"].mean()
    assert table.loc["rgb", "top1"] == pytest.approx(100 * right) and set(table.index) == {"rgb", "flow"}
    empty = CliRunner().invoke(main, ["results", str(tmp_path / "nothing")])
    assert empty.exit_code == 2 and "no runs that can be used" in empty.output


def test_the_paper_s_results_are_those_that_it_prints() -> None:
    table = paper_results()
    ours = table[table["method"].str.startswith("STH")].set_index(["dataset", "frames"])[["top1", "top5"]]
    assert ours.loc[("Something-Something V1", "8")].tolist() == [46.8, 76.5]
    assert ours.loc[("Something-Something V2", "16x6")].tolist() == [63.6, 88.9]
    assert ours.loc[("Kinetics-400", "16")].tolist() == [74.1, 91.6]
    assert ours.loc[("HMDB-51", "16"), "top1"] == 74.8
    assert set(table["table"]) == {2, 3, 4, 5} and table["top1"].between(15, 100).all()
    of_table_2 = table[table["table"] == 2].set_index(["method", "frames"])
    assert of_table_2["test_top1"].dropna().to_dict() == {
        ("TRN-Multiscale", "8"): 33.6, ("TSM", "16"): 46.0, ("TSM (RGB + Flow)", "16+16"): 50.7,
        ("Non-local I3D + GCN", "32x2"): 45.0, ("S3D-G", "64"): 42.0, ("ECO (En Lite)", "92"): 42.3,
        ("ECO (En Lite; RGB + Flow)", "92+92"): 43.9, ("STM", "16x30"): 43.1, ("STH (En)", "24"): 45.8,
        ("STH (RGB + Flow)", "16+16"): 48.0,
    }  # fmt: skip
    assert (
        of_table_2.loc[("ECO (En Lite)", "92"), "top1"] == 46.4 and table["test_top1"][table["table"] > 2].isna().all()
    )
    assert (55.5, 83.1) in set(zip(table["top1"], table["top5"], strict=True))


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (RGB, 8),
        (Preprocessing("flow", frames=16, mean=(0.5,), std=(0.1,)), 8),
        (Preprocessing(frames=32, resize=512, crop=512), 2),
        (Preprocessing(frames=2, resize=2048, crop=2048), 2),
    ],
)
def test_a_batch_of_large_clips_is_taken_in_parts(preprocessing: Preprocessing, expected: int) -> None:
    cpu = torch.device("cpu")
    assert views_at_once(8, preprocessing, cpu) == expected and views_at_once(1, preprocessing, cpu) == 1
    assert views_at_once(8, preprocessing, torch.device("cuda")) == 8  # a GPU says when its memory is full
