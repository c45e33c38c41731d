"""The precision of networks: what is computed, said and kept; and trainings that can be repeated on a GPU."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from analysis.explain.gradcam import signed_maps
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run, predictions
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.network import create_model
from sth_core.precision import (
    arithmetic,
    at_least_fp32,
    computing_facts,
    computing_in,
    precision_on,
    replaced_precision,
    tf32,
    without_autocast,
)
from sth_core.resumable import Work, working_on
from sth_core.training import Progress, train
from tests.test_cli import ends_well, mistake
from tests.test_training import tiny
from tests.test_training_folder import table  # noqa: F401 (a fixture)
from tests.tiny import copy_clips, tiny_network, write_moving_video

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def flags() -> tuple[bool, bool]:
    """Whether matrix products and convolutions may be rounded to TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU that is not there, of a generation with TF32 unless the test changes that."""
    made = SimpleNamespace(capability=(9, 0))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: made.capability)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H100")
    return made


@pytest.fixture(scope="module")
def few(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_clips(scenes_folder, tmp_path_factory.mktemp("clips") / "few", 2)


@pytest.mark.parametrize(
    ("asked", "device", "capability", "used"),
    [
        *((name, CPU, (9, 0), name) for name in ("fp32", "bf16", "fp16")),
        *((name, CUDA, (9, 0), name) for name in ("fp32", "tf32", "bf16", "fp16")),
        ("tf32", CPU, (9, 0), "fp32"),
        ("tf32", CUDA, (7, 5), "fp32"),
    ],
)
def test_a_device_without_tf32_computes_in_fp32_and_it_is_said(asked, device, capability, used, gpu) -> None:
    gpu.capability = capability
    assert precision_on(asked, device) == used and computing_facts(asked, device)["precision"] == used
    name = "cpu" if device is CPU else "cuda (NVIDIA H100)"
    assert replaced_precision(asked, device) == (
        "" if asked == used else f"{name} has no tf32: fp32 is computed instead"
    )
    of_gpu = set() if device is CPU else {"cuda", "cudnn"}
    facts = computing_facts(asked, device)
    assert facts["device"] == name and set(facts) == {"device", "precision"} | of_gpu


@pytest.mark.parametrize(("cuda", "hip", "said"), [("12.8", None, "12.8"), (None, "6.4", "6.4")])
def test_the_version_of_cuda_or_rocm_is_said(cuda, hip, said, gpu, monkeypatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert computing_facts("bf16", CUDA)["cuda"] == said


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"unknown precision 'fp23' \(did you mean 'fp32'\?\); possible: fp32, tf32, bf"
    ):
        precision_on("fp23", CPU)
    assert "'int8' is not one of 'fp32', 'tf32', 'bf16', 'fp16'" in mistake("cam", "x", "--precision", "int8")


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", True), ("fp16", True)])
@pytest.mark.parametrize("before", [True, False])
def test_the_flags_of_a_gpu_are_set_and_put_back(precision: str, allowed: bool, before: bool, gpu) -> None:
    with tf32(before):
        with pytest.raises(KeyError), arithmetic(precision, CUDA):
            assert flags() == (allowed, allowed)
            with arithmetic("tf32", CPU):  # which has none
                assert flags() == (allowed, allowed)
            raise KeyError
        assert flags() == (before, before)


@pytest.mark.parametrize(
    ("device", "deterministic", "tuned", "tries"),
    [(CUDA, False, True, True), (CUDA, False, False, False), (CUDA, True, True, False), (CPU, False, True, False)],
)
def test_cudnn_tries_its_algorithms_only_where_it_may(device, deterministic, tuned, tries, gpu) -> None:
    with arithmetic("fp32", device, deterministic=deterministic, tuned=tuned):
        assert torch.backends.cudnn.benchmark is tries
    assert not torch.backends.cudnn.benchmark


def test_the_inner_block_decides() -> None:
    x = torch.ones(2, 2)
    with computing_in("bf16", CPU):
        assert (x @ x).dtype == torch.bfloat16
        with computing_in("fp16", CPU):
            assert (x @ x).dtype == torch.float16
        for plain in (computing_in("fp32", CPU), computing_in("tf32", CPU), without_autocast(CPU)):
            with plain:
                assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32
    with without_autocast(torch.device("meta")):
        pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_what_is_read_is_not_of_16_bits(dtype: torch.dtype) -> None:
    assert at_least_fp32(torch.ones(1, dtype=dtype)).dtype == (
        torch.float64 if dtype == torch.float64 else torch.float32
    )


@pytest.mark.parametrize("conv", ["sth", "2d", "tsm", "2plus1d_sequential", "2plus1d_parallel", "3d", "sth_merge"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_scores_and_attention_in_16_bits_are_near_those_in_32_and_of_type_fp32(conv: str, precision: str) -> None:
    model, clips = tiny_network(conv=conv), torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact, alpha = model.forward_with_attention(clips)
        with computing_in(precision, CPU):
            logits, found = model.forward_with_attention(clips)
    assert logits.dtype == torch.float32 and not torch.equal(logits, exact)
    assert (logits - exact).abs().max() < 0.03 * exact.abs().max()
    assert found.keys() == alpha.keys() and all(a.dtype == torch.float32 for a in found.values())
    assert all((found[name] - alpha[name]).abs().max() < 0.01 for name in alpha)


def test_grad_cam_is_of_fp32_unless_asked() -> None:
    model, clips = tiny_network(), torch.randn(1, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def maps(**how: Any) -> Tensor:
        return signed_maps(model, clips, torch.tensor([3]), ("layer2.1.conv2",), **how)["layer2.1.conv2"]["temporal"]

    exact = maps()
    with computing_in("bf16", CPU):  # of the caller
        assert torch.equal(maps(), exact)
    for precision in ("bf16", "fp16"):
        found = maps(precision=precision)
        assert found.dtype == torch.float32 and not torch.equal(found, exact)
        assert (found - exact).abs().max() < 0.05 * exact.abs().max()


def described(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_each_command_computes_in_the_precision_that_was_asked_for(
    few: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common, run = ("--data", few, "--device", "cpu", "--precision", "bf16"), tmp_path / "run"

    def say_type(*_: object) -> None:
        raise UserError(f"{torch.is_autocast_enabled('cpu')}, {torch.get_autocast_dtype('cpu')}")

    for long in ("interventions.replace_alpha", "trust.clip_alphas"):
        monkeypatch.setattr(f"analysis.experiments.{long}", say_type)
    ends_well("record", checkpoint, *common, "-o", run)
    ends_well("probe", checkpoint, *common, "-o", run, "--shuffles", 1)
    assert mistake("intervene", checkpoint, *common, "-o", run) == "sth: True, torch.bfloat16\n"
    assert mistake("trust", checkpoint, *common, "-o", tmp_path / "trust") == "sth: True, torch.bfloat16\n"
    ends_well("cam", checkpoint, write_moving_video(tmp_path / "v.mp4"), "-o", tmp_path / "x.mp4", *common[2:])
    files = (
        run / "run.json", run / "probes" / "probes.json", run / "interventions" / "interventions.json",
        tmp_path / "trust" / "trust.json", tmp_path / "x.json",
    )  # fmt: skip
    assert [(described(file)["precision"], described(file)["device"]) for file in files] == [("bf16", "cpu")] * 5
    record(checkpoint, few, tmp_path / "exact", DatasetOptions(device="cpu"))
    half, exact = (np.stack(predictions(open_run(path))["scores"]) for path in (run, tmp_path / "exact"))
    assert 0 < np.abs(half - exact).max() < 0.05
    said = ends_well("results", tmp_path)
    assert "run: computed in bf16 on cpu" in said and "exact: computed in fp32 on cpu" in said
    sentence = mistake("record", checkpoint, "--data", few, "-o", run)
    assert "holds another recording (precision is 'bf16', now 'fp32')" in sentence
    assert "(precision is 'bf16', now 'fp32')" in mistake("probe", checkpoint, *common[:2], "-o", run, "--shuffles", 1)


def test_a_run_that_goes_on_elsewhere_names_both_devices_and_a_whole_one_keeps_its_own(
    few: Path, checkpoint: Path, tmp_path: Path
) -> None:
    def devices() -> str:
        record(checkpoint, few, tmp_path, DatasetOptions(device="cpu", precision="tf32"))
        return str(described(tmp_path / "run.json")["device"])

    def changed(**values: Any) -> None:
        meta = described(tmp_path / "run.json") | values
        (tmp_path / "run.json").write_text(json.dumps(meta), encoding="utf-8")

    assert devices() == "cpu"
    changed(device="cuda (NVIDIA H100)")
    assert devices() == "cuda (NVIDIA H100)"
    next((tmp_path / "predictions").glob("part-*")).unlink()
    changed(finished=None)
    assert devices() == "cuda (NVIDIA H100) + cpu" == devices()
    meta = described(tmp_path / "run.json")
    del meta["precision"], meta["device"]  # as an earlier version left it
    (tmp_path / "run.json").write_text(json.dumps(meta), encoding="utf-8")
    assert devices() == "cpu"


def test_the_devices_of_any_work_are_kept(tmp_path: Path) -> None:
    work = Work(tmp_path, "work.json", "work", {"a": 1}, ())
    for device in ("cpu", "cuda (A)", "cpu", "cuda (B)"):
        with working_on(work, {"device": device}) as meta:
            pass
    assert meta["device"] == "cpu + cuda (A) + cuda (B)"


@pytest.fixture
def steps(table: pd.DataFrame) -> Iterator[Any]:  # noqa: F811
    """Trains a tiny network one epoch; the flags at each step."""
    seen: list[tuple[bool, bool, bool]] = []

    def look(_: Progress) -> None:
        enabled, cudnn = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn
        seen.append((enabled, cudnn.deterministic, cudnn.benchmark))

    def one_epoch(out: Path, **changes: Any) -> set[tuple[bool, bool, bool]]:
        seen.clear()
        recipe = tiny(optimisation__epochs=1, optimisation__batch_size=4, **changes)
        train(recipe, table, out, "cpu", look)
        return set(seen)

    yield one_epoch


def test_deterministic_training_allows_only_algorithms_that_are(steps, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert steps(tmp_path / "a", optimisation__deterministic=True) == {(True, True, False)}
    assert steps(tmp_path / "b") == {(False, False, True)}
    assert steps(tmp_path / "c", optimisation__deterministic=True) == {(True, True, False)}
    assert sha256(tmp_path / "a" / "model.safetensors") == sha256(tmp_path / "c" / "model.safetensors")
    meta = described(tmp_path / "a" / "training.json")
    assert meta["optimisation"]["deterministic"] and (meta["device"], meta["precision"]) == ("cpu", "fp32")


def test_an_operation_that_is_not_deterministic_is_a_sentence(steps, tmp_path: Path, monkeypatch) -> None:
    said = "median CUDA with indices output does not have a deterministic implementation, but you set 'torch.use_..."

    def step(*_: object) -> float:
        raise RuntimeError(said)

    monkeypatch.setattr("sth_core.trainer.Trainer.step", step)
    with pytest.raises(UserError, match=r"^median CUDA .* implementation.*; leave deterministic out for this network$"):
        steps(tmp_path / "a", optimisation__deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError):
        steps(tmp_path / "b")


def test_the_options_of_sth_train_are_values_of_the_recipe(scenes_folder: Path, tmp_path: Path, monkeypatch) -> None:
    class Trained(UserError):
        pass

    def asked(recipe: Any, *_: object, **__: object) -> None:
        raise Trained(f"{recipe.optimisation.precision}, {recipe.optimisation.deterministic}")

    monkeypatch.setattr("sth_core.training.train", asked)
    words = ["train", "synthetic_motion", "--data", scenes_folder, "-o", tmp_path]
    for options, expected in (
        ([], "fp32, False"),
        (["--deterministic"], "fp32, True"),
        (["--precision", "tf32"], "tf32, False"),
        (["--set", "optimisation.precision=fp16", "--precision", "bf16", "--deterministic"], "bf16, True"),
    ):
        assert mistake(*words, *options) == f"sth: {expected}\n"


def test_the_paper_s_networks_are_created_with_any_precision() -> None:
    """The classifier of a network whose weights were cast to bf16 takes features of bf16."""
    model = create_model("resnet18", 5, frames=2, width=8).eval().to(torch.bfloat16)
    with torch.inference_mode():
        assert model(torch.zeros(1, 2, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
