"""What a recording writes, against plain evaluation."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

import sth_core.checkpoint
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import failures, open_run, predictions
from analysis.statistics.fusion import fuse
from sth_core.checkpoint import load_checkpoint
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.network import VideoNetwork
from sth_core.sth_conv import STHConv
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.transforms import crop, normalise
from tests.tiny import CLASSES, FLOW, RGB, attention_of, copy_clips, save_tiny


@pytest.fixture(scope="module")
def run(recorded: Path) -> Path:
    return recorded


@pytest.fixture
def few(scenes_folder: Path, tmp_path: Path) -> Path:
    """A dataset of four val clips, to be written in."""
    return copy_clips(scenes_folder, tmp_path / "few", 4)


def batch_of(table: pd.DataFrame, preprocessing=RGB) -> torch.Tensor:
    clips = [crop(read_clip(ClipSource(Path(path)), preprocessing)[0], preprocessing.crop) for path in table["path"]]
    return normalise(torch.from_numpy(np.stack(clips)), preprocessing)


def test_a_run_directory_has_the_columns_that_others_read(run: Path) -> None:
    assert {path.name for path in run.glob("[!.]*")} == {"attention", "failures.parquet", "predictions", "run.json"}
    columns = "clip_id path label prediction correct confidence margin disagreement scores view_scores frame_indices"
    columns += " flow backward segment group bytes"
    for file in (run / "predictions").iterdir():
        assert list(pd.read_parquet(file).columns) == columns.split()
    columns = "clip_id layer_index layer stage alpha_spatial alpha_temporal"
    for file in (run / "attention").iterdir():
        assert list(pd.read_parquet(file).columns) == columns.split()
    assert list(pd.read_parquet(run / "failures.parquet").columns) == ["clip_id", "path", "reason"]


def test_run_json_says_what_was_run_on_what(run: Path, checkpoint: Path, scenes_folder: Path) -> None:
    meta = json.loads((run / "run.json").read_text())
    expected = {
        "arch": "resnet18", "conv": "sth", "temporal_fraction": 0.25, "attention": True, "modality": "rgb",
        "dataset": f"{scenes_folder.name}: motion", "split": "val", "classes": CLASSES, "clips": 24,
        "checkpoint_sha256": sha256(checkpoint), "command": "sth record by hand",
    }  # fmt: skip
    assert {key: meta[key] for key in expected} == expected
    assert meta["versions"]["torch"] == torch.__version__
    assert meta["protocol"]["clips_per_video"] == 1
    assert meta["started"] <= meta["finished"]


def test_scores_are_bit_for_bit_those_of_the_network_for_inference(run, checkpoint, scenes_folder):
    recorded = predictions(open_run(run))
    manifest = pd.read_csv(scenes_folder / "manifest.csv").query("split == 'val'").sort_values("path")
    assert list(recorded["clip_id"]) == list(manifest["path"])
    assert list(recorded["label"]) == list(manifest["motion"])
    loaded = load_checkpoint(checkpoint)
    for start in range(0, 24, 8):
        rows = recorded.iloc[start : start + 8]
        clips = batch_of(rows)
        with torch.inference_mode():
            scores, plain = (m(clips).softmax(1).numpy() for m in (loaded.inference_model, loaded.model))
        assert np.array_equal(np.stack(rows["scores"]), scores)
        np.testing.assert_allclose(scores, plain, rtol=0, atol=1e-5)
        assert np.array_equal(np.stack([views[0] for views in rows["view_scores"]]), scores)
        assert list(rows["prediction"]) == [CLASSES[i] for i in scores.argmax(1)]
        assert np.array_equal(rows["confidence"], scores.max(1).astype(float))
        second = np.sort(scores.astype(float), 1)[:, -2]
        np.testing.assert_allclose(rows["margin"], scores.max(1) - second, atol=1e-7)
        assert (rows["disagreement"] == 0).all()  # of one view
    assert list(recorded["correct"]) == list(recorded["label"] == recorded["prediction"])
    assert recorded["prediction"].nunique() > 1  # else the tests above would see little
    indices = recorded["frame_indices"].iloc[0]
    assert np.array_equal(indices, read_clip(ClipSource(Path(recorded["path"].iloc[0])), RGB)[1])


def test_alpha_is_the_mean_over_channels_of_the_network_s_own(run: Path, checkpoint: Path) -> None:
    recorded, attention = predictions(open_run(run)), attention_of(run)
    model = load_checkpoint(checkpoint).model
    with torch.inference_mode():
        alphas = model.forward_with_attention(batch_of(recorded))[1]
    assert len(alphas) == 16
    layers = attention.drop_duplicates("layer_index")
    assert list(layers["layer"]) == list(alphas)
    assert list(layers["stage"]) == [name.split(".")[0] for name in alphas]
    for name, alpha in alphas.items():
        rows = attention[attention["layer"] == name]
        np.testing.assert_allclose(rows["alpha_spatial"], alpha[:, 0].mean(1), atol=1e-6)
        np.testing.assert_allclose(rows["alpha_temporal"], alpha[:, 1].mean(1), atol=1e-6)
    np.testing.assert_allclose(attention["alpha_spatial"] + attention["alpha_temporal"], 1, atol=1e-6)
    assert attention["alpha_temporal"].std() > 1e-3


def test_alpha_is_figure_4_of_the_layer_s_input(run: Path, checkpoint: Path) -> None:
    """Means over time and pixels of both parts, two linear layers, softmax: from the input of one layer."""
    recorded, attention = predictions(open_run(run)), attention_of(run)
    model = load_checkpoint(checkpoint).model
    conv = model.backbone.get_submodule("layer2.1.conv1")
    assert isinstance(conv, STHConv)
    inputs = []
    hook = conv.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    clips = batch_of(recorded.iloc[:3])
    with torch.inference_mode():
        model(clips)
    hook.remove()
    dense = conv.dense_kernel().detach()
    x = inputs[0].unflatten(0, (3, 4)).transpose(1, 2)  # B C T H W
    temporal_only, spatial_only = dense.clone(), dense.clone()
    temporal_only[:, :, 1] = 0
    spatial_only[:, :, [0, 2]] = 0
    # The middle of a temporal kernel lies where the spatial kernel of the same channel is empty.
    for out in range(16):
        first = out // 4 * 4
        temporal_only[out, first : first + 4] = dense[out, first : first + 4]
        spatial_only[out, first : first + 4] = 0
    parts = [F.conv3d(x, kernel, padding=1).mean((2, 3, 4)) for kernel in (spatial_only, temporal_only)]
    weights = {name: w.detach() for name, w in conv.integration.named_parameters()}
    hidden = (torch.cat(parts, 1) @ weights["squeeze.weight"].T + weights["squeeze.bias"]).clamp(min=0)
    spatial, temporal = (hidden @ weights["expand.weight"].T + weights["expand.bias"]).chunk(2, 1)
    alpha_temporal = temporal.exp() / (spatial.exp() + temporal.exp())
    rows = attention[attention["layer"] == "layer2.1.conv1"].iloc[:3]
    np.testing.assert_allclose(rows["alpha_temporal"], alpha_temporal.mean(1), atol=1e-6)


def test_vectors_are_the_network_s_own_of_each_channel(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    record(checkpoint, few, tmp_path / "run", vectors=True)
    run = open_run(tmp_path / "run")
    assert run.meta["vectors"] is True
    attention = attention_of(tmp_path / "run")
    with torch.inference_mode():
        alphas = load_checkpoint(checkpoint).model.forward_with_attention(batch_of(predictions(run)))[1]
    for name, alpha in alphas.items():
        rows = attention[attention["layer"] == name]
        for row, column in enumerate(("spatial", "temporal")):
            vectors = np.stack(list(rows[f"alpha_{column}_vector"]))
            assert vectors.dtype == np.float16 and vectors.shape == (4, alpha.shape[2])
            np.testing.assert_allclose(vectors, alpha[:, row], rtol=2**-11, atol=1e-7)
            np.testing.assert_allclose(rows[f"alpha_{column}"], alpha[:, row].mean(1), atol=1e-6)
    (file,) = (tmp_path / "run" / "attention").iterdir()
    assert str(pq.read_schema(file).field("alpha_temporal_vector").type) == "list<element: halffloat>"


def test_the_group_of_a_clip_is_its_source_video_or_itself(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    record(checkpoint, few, tmp_path / "alone")
    table = predictions(open_run(tmp_path / "alone"))
    assert list(table["group"]) == list(table["clip_id"])
    manifest = pd.read_csv(few / "manifest.csv")
    manifest.assign(video=[f"video {i // 2}" for i in range(4)]).to_csv(few / "manifest.csv", index=False)
    record(checkpoint, few, tmp_path / "grouped", annotation=Annotation(label="motion", group="video"))
    grouped = predictions(open_run(tmp_path / "grouped"))
    assert dict(zip(grouped["clip_id"], grouped["group"], strict=True)) == {
        path: f"video {i // 2}" for i, path in enumerate(manifest["path"])
    }
    runs = [open_run(tmp_path / name) for name in ("grouped", "alone")]
    fuse(runs, [1, 1], tmp_path / "fused")
    assert list(predictions(open_run(tmp_path / "fused"))["group"]) == list(grouped["group"])


def test_unreadable_clips_are_rows_and_the_rest_is_recorded(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in (few / "val").iterdir())
    (few / "val" / names[0]).write_bytes(b"not a video" * 1000)
    (few / "val" / names[1]).unlink()
    (few / "val" / names[2]).write_bytes(b"")
    options = DatasetOptions(batch_size=2)  # the first batch has no readable clip
    done = record(checkpoint, few, tmp_path / "run", options)
    assert (done.clips, done.failures) == (4, 3)
    table = failures(open_run(tmp_path / "run"))
    assert list(table["clip_id"]) == [f"val/{name}" for name in names[:3]]
    missing = table["reason"][1]  # the line of the manifest, and what is not there
    assert "manifest.csv, line " in missing and f"no video or folder of frames 'val/{names[1]}' in {few}" in missing
    assert all(table["path"][i] in table["reason"][i] for i in (0, 2))
    assert list(predictions(open_run(tmp_path / "run"))["clip_id"]) == [f"val/{names[3]}"]


def test_clips_that_can_be_read_again_are_recorded_by_the_next_call(checkpoint, few, tmp_path):
    broken = min((few / "val").iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    record(checkpoint, few, tmp_path / "run")
    broken.write_bytes(whole)
    assert record(checkpoint, few, tmp_path / "run").failures == 0
    assert len(predictions(open_run(tmp_path / "run"))) == 4
    assert failures(open_run(tmp_path / "run")).empty


def test_no_clip_can_be_read(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    for file in (few / "val").iterdir():
        file.write_bytes(b"")
    done = record(checkpoint, few, tmp_path / "run")
    assert (done.clips, done.failures) == (4, 4)
    assert np.isnan(done.accuracy)
    run = open_run(tmp_path / "run")
    assert not run.usable
    assert run.problem == ""


def test_a_split_without_clips_says_which_there_are(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clips in the split 'test' .* \{'val': 4\}"):
        record(checkpoint, few, tmp_path / "run", DatasetOptions(split="test"))
    assert not (tmp_path / "run").exists()


def test_labels_that_the_network_does_not_know(checkpoint: Path, few: Path, tmp_path: Path) -> None:
    """They are neither correct nor wrong, and the accuracy is over the others."""
    files = sorted((few / "val").iterdir())
    known = predictions(open_run(record(checkpoint, few, tmp_path / "first").run))["prediction"].iloc[0]
    for file, label in zip(files, (known, known, "juggling", "juggling"), strict=True):
        (tmp_path / "folders" / "val" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "folders" / "val" / label)
    done = record(checkpoint, tmp_path / "folders", tmp_path / "run")
    table = predictions(open_run(tmp_path / "run"))
    unknown = table[table["label"] == "juggling"]
    assert len(table) == 4
    assert len(unknown) == 2
    assert unknown["correct"].isna().all()
    assert done.accuracy == table.loc[table["label"] == known, "correct"].mean() >= 0.5


def test_a_2d_network_has_predictions_only(few: Path, tmp_path: Path) -> None:
    run = open_run(record(save_tiny(tmp_path / "2d.safetensors", conv="2d"), few, tmp_path / "run").run)
    assert len(predictions(run)) == 4
    assert list((tmp_path / "run" / "attention").iterdir()) == []
    assert (run.meta["attention"], run.meta["temporal_fraction"], run.p) == (False, 0.0, "0")


def test_clips_of_flow(few: Path, tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "flow.safetensors", modality="flow")
    run = open_run(record(checkpoint, few, tmp_path / "run").run)
    table = predictions(run)
    with torch.inference_mode():
        scores = load_checkpoint(checkpoint).inference_model(batch_of(table, FLOW)).softmax(1).numpy()
    assert np.array_equal(np.stack(table["scores"]), scores)
    assert run.modality == "Flow"
    assert len(attention_of(tmp_path / "run")) == 4 * 16


def test_the_network_is_made_for_inference_in_the_precision_that_is_asked_for(
    checkpoint: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its form may depend on it."""
    made, for_inference = [], sth_core.checkpoint.for_inference

    def noted(model: VideoNetwork, dtype: torch.dtype) -> VideoNetwork:
        made.append(torch.is_autocast_enabled("cpu"))
        return for_inference(model, dtype)

    monkeypatch.setattr(sth_core.checkpoint, "for_inference", noted)
    forms = []
    for _ in range(2):
        record(checkpoint, few, tmp_path / "run", DatasetOptions(precision="bf16"))
        forms.append(open_run(tmp_path / "run").meta["form"])
    assert made == [True, True] and forms == ["batch norms folded; STH convolutions as padded kernels"] * 2
