"""What a GPU computes is what the CPU computes, and what it is asked for. Run with: python -m pytest -m gpu

Nothing but what the networks need is imported, and no fixture is used: a GPU machine without the app's packages runs
this file with --noconftest.
"""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.explain.gradcam import signed_maps
from sth_core.checkpoint import load_checkpoint
from sth_core.convolution import UNOBSERVED, Tap
from sth_core.datasets.clips import TrainClips
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.synthetic import synthesize
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.forms import kernels_serve
from sth_core.inference import for_inference, form_of
from sth_core.network import CONVS, channels_last, create_model
from sth_core.out_of_memory import fitting_batch, saying_out_of_memory
from sth_core.precision import computing_in, has_tf32
from sth_core.readers import Readers
from sth_core.recipe import Recipe, recipe_from
from sth_core.staging import staged
from sth_core.sth_conv import STHConv
from sth_core.trainer import stage_batch
from sth_core.training import Progress, train
from sth_core.video.transforms import Preprocessing, normalise
from tests.tiny import save_tiny, tiny_network

GPU = torch.device("cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, or not run alone: python -m pytest -m gpu"),
]
RECIPE = {
    "data": {"label": "motion"},
    "model": {"backbone": "resnet18", "width": 8, "frames": 4},
    "preprocessing": {"frames": 4, "resize": 36, "crop": 32},
    "optimisation": {
        "epochs": 1, "batch_size": 4, "learning_rate": 0.01, "warmup_epochs": 0.5, "momentum": 0.9,
        "weight_decay": 5e-4, "label_smoothing": 0.0, "clip_gradient": 5.0, "seed": 0,
    },
}  # fmt: skip


def some_clips(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 4, 3, side, side, generator=torch.Generator().manual_seed(0))


def near(found: Tensor, expected: Tensor, share: float) -> bool:
    """Whether no value differs by more than this share of the largest one."""
    return bool((found.cpu().double() - expected.cpu().double()).abs().max() <= share * expected.abs().max())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for split, seed in (("train", 3), ("val", 4)):
        synthesize(folder, 12, seed=seed, split=split, workers=1)
    return folder


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("conv", CONVS)
def test_every_convolution_computes_what_the_cpu_computes(conv: str, backbone: str) -> None:
    torch.manual_seed(0)
    model, clips = create_model(backbone, 12, frames=4, conv=conv, width=32).eval(), some_clips()
    torch.nn.init.normal_(model.fc.weight)
    with torch.inference_mode():
        logits, alphas = model.forward_with_attention(clips)
        model = model.to(GPU)
        for form in (model, channels_last(model), for_inference(model)):
            with computing_in("fp32", GPU):
                made_here, _ = for_inference(model).forward_with_attention(clips.to(GPU))
                assert near(made_here, logits, 1e-4)
                found, found_alphas = form.forward_with_attention(clips.to(GPU))
            assert near(found, logits, 1e-4) and found_alphas.keys() == alphas.keys()
            assert all(near(found_alphas[name], alphas[name], 1e-4) for name in alphas)
            with computing_in("bf16", GPU):
                found, found_alphas = form.forward_with_attention(clips.to(GPU))
            assert found.dtype == torch.float32 and near(found, logits, 0.1)
            assert all(near(found_alphas[name], alphas[name], 0.1) for name in alphas)


@pytest.mark.parametrize("conv", CONVS)
def test_every_convolution_learns_what_the_cpu_learns(conv: str) -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        model = tiny_network(conv=conv).to(device)
        with computing_in("fp32", GPU):
            loss = F.cross_entropy(model(some_clips().to(device)), torch.tensor([1, 2], device=device))
            gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
    for on_cpu, on_gpu in zip(*gradients, strict=True):
        assert (on_cpu is None) == (on_gpu is None)
        assert on_cpu is None or (on_gpu.cpu() - on_cpu).abs().max() <= 1e-3 * on_cpu.abs().max() + 1e-6


@pytest.mark.parametrize(("precision", "exact"), [("fp32", True), ("tf32", False)])
def test_fp32_is_not_rounded_to_tf32_and_tf32_is(precision: str, exact: bool) -> None:
    if not exact and not has_tf32(GPU):
        pytest.skip("this GPU has no TF32")
    x, weight = torch.randn(8, 256, 16, 16, device=GPU), torch.randn(256, 256, 3, 3, device=GPU)
    a = torch.randn(512, 512, device=GPU)
    with computing_in(precision, GPU):
        convolution, product = F.conv2d(x, weight), a @ a
    assert near(convolution, F.conv2d(x.double(), weight.double()), 1e-5) == exact
    assert near(product, a.double() @ a.double(), 1e-5) == exact


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_layer_stays_in_16_bits(precision: str, dtype: torch.dtype) -> None:
    """alpha, whose softmax CUDA's autocast computes in fp32, must not make the layer's output fp32."""
    seen: dict[str, torch.dtype] = {}

    class Types(Tap):
        def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
            seen.update(spatial=spatial.dtype, temporal=temporal.dtype)
            return spatial, temporal

    conv = STHConv(64, 64, frames=4, attention=True, name="layer").to(GPU)
    with computing_in(precision, GPU):
        x = F.conv2d(torch.randn(8, 3, 32, 32, device=GPU), torch.randn(64, 3, 3, 3, device=GPU))
        seen |= {"input": x.dtype, "output": conv(x).dtype}
        conv(x, Types())
    assert set(seen.values()) == {dtype}, seen


def test_grad_cam_is_that_of_the_cpu() -> None:
    model, clips, target = tiny_network(width=16), some_clips(1), torch.tensor([3])
    expected = signed_maps(model, clips, target)
    for definition in ("per_step", "per_clip"):
        expected = signed_maps(model, clips, target, definition=definition)
        found = signed_maps(model.to(GPU), clips.to(GPU), target, definition=definition)
        for layer, branches in expected.items():
            for branch, maps in branches.items():
                assert near(found[layer][branch], maps, 1e-3), (layer, branch)
        model = model.cpu()


def test_a_recording_is_that_of_the_cpu_and_says_where_it_was_made(scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    from analysis.runs.dataset_options import AUTO_BATCH, DatasetOptions
    from analysis.runs.recording import record
    from analysis.runs.run_directory import open_run, predictions

    network, scores = save_tiny(tmp_path / "tiny.safetensors"), {}
    for device, precision, batch in (("cpu", "fp32", 8), ("cuda", "fp32", 8), ("cuda", "bf16", AUTO_BATCH)):
        out = tmp_path / f"{device} {precision}"
        record(network, scenes, out, DatasetOptions(device=device, precision=precision, batch_size=batch))
        meta = json.loads((out / "run.json").read_text(encoding="utf-8"))
        assert meta["precision"] == precision and ("cudnn" in meta) == (device == "cuda")
        name = f"cuda ({torch.cuda.get_device_name()})"
        assert meta["device"] == (name if device == "cuda" else "cpu")
        scores[device, precision] = np.stack(predictions(open_run(out))["scores"])
    np.testing.assert_allclose(scores["cuda", "fp32"], scores["cpu", "fp32"], atol=1e-4)
    np.testing.assert_allclose(scores["cuda", "bf16"], scores["cpu", "fp32"], atol=0.1)


def recipe_with(**changes: Any) -> Recipe:
    return recipe_from(RECIPE | {"optimisation": RECIPE["optimisation"] | changes}, "tiny")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_steps_of_training_change_the_weights_which_stay_in_fp32(precision: str, scenes: Path, tmp_path: Path) -> None:
    recipe = recipe_with(precision=precision)
    table = read_dataset(scenes, recipe.data)
    weights = {}
    for device in ("cpu", "cuda") if precision == "fp32" else ("cuda",):
        trained = train(recipe, table, tmp_path / device, device)
        weights[device] = load_checkpoint(trained.checkpoint).model.state_dict()
        losses = (tmp_path / device / "metrics.csv").read_text(encoding="utf-8").splitlines()
        assert np.isfinite(float(losses[1].split(",")[1]))
        assert all(w.dtype in (torch.float32, torch.int64) for w in weights[device].values())
    if precision == "fp32":
        for name, expected in weights["cpu"].items():
            assert near(weights["cuda"][name].float(), expected.float(), 0.02), name


def test_deterministic_trainings_give_one_file_and_resume_to_it(scenes: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(p: Progress) -> None:
        if p.stage == "training" and p.done == 2:
            raise Stopped

    recipe = recipe_with(deterministic=True, epochs=2)
    table = read_dataset(scenes, recipe.data)
    with pytest.raises(Stopped):
        train(recipe, table, tmp_path / "b", "cuda", stop, save_every=0)
    files = [train(recipe, table, tmp_path / name, "cuda").checkpoint for name in ("a", "b", "c")]
    assert len({sha256(file) for file in files}) == 1


def test_the_largest_batch_runs_and_a_larger_one_is_a_sentence() -> None:
    model = for_inference(create_model("resnet18", 12, frames=8).to(GPU))
    p, whole = Preprocessing("rgb", frames=8, resize=112, crop=112), torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.5e9 / whole)
    try:
        with torch.inference_mode(), computing_in("fp32", GPU):
            count = fitting_batch(model, p, p.crop)
            assert 4 <= count < 1024
            views = torch.zeros(2 * count, 8, 112, 112, 3, dtype=torch.uint8)
            model(normalise(views[:count].to(GPU), p))
            with (
                pytest.raises(UserError, match=r"the memory of cuda \(.*\) is full: ways"),
                saying_out_of_memory(GPU, lambda: "ways"),
            ):
                model(normalise(views.to(GPU), p))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_clips_that_processes_read_reach_the_gpu_as_they_are(tmp_path: Path) -> None:
    synthesize(tmp_path, 6, seed=3, split="train", workers=1)
    table = read_dataset(tmp_path, Annotation(label="motion"))
    p = Preprocessing(frames=4, resize=36, crop=32)
    clips = TrainClips(table, sorted(set(table["label"])), p, Augment(flip=True))
    wanted = [(row, [7, epoch, row]) for epoch in range(3) for row in clips.rows]
    expected, seen = [clips.sample(*one) for one in wanted], []
    with Readers(2, processes=True) as readers:
        samples = clips.read_ahead(wanted, readers, ahead=4, held=4)
        batches = ((np.empty(0), batch) for batch in iter(lambda: list(islice(samples, 2)), []))
        for _, batch in staged(stage_batch, batches, GPU):
            seen += [(clip.cpu().numpy(), label) for clip, label in batch if clip.is_cuda]
    assert len(seen) == len(expected) == 18
    for (found, label), sample in zip(seen, expected, strict=True):
        assert sample is not None and np.array_equal(found, sample[0]) and label == sample[1]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"attention": False}, {"variant": "merge"}], ids=str)
def test_the_kernels_give_a_layer_and_its_gradients(options: dict[str, Any], compiled: bool) -> None:
    torch.manual_seed(0)
    conv = channels_last(STHConv(64, 64, **({"attention": True, "frames": 4} | options)))
    x = torch.randn(8, 64, 15, 14).contiguous(memory_format=torch.channels_last)

    def gradients(conv: torch.nn.Module, weights: list[Tensor], x: Tensor) -> list[Tensor]:
        y = conv(x)
        return [y, *torch.autograd.grad(y.float().square().sum(), weights)]

    expected = gradients(conv.double(), list(conv.parameters()), x.double())
    conv, x = conv.float().to(GPU), x.to(GPU)
    with computing_in("bf16", GPU):
        assert kernels_serve(conv, x, UNOBSERVED)
        found = gradients(torch.compile(conv) if compiled else conv, list(conv.parameters()), x)
    for a, b in zip(found, expected, strict=True):
        assert (a.cpu().double() - b).norm() <= 0.02 * b.norm()


@pytest.mark.parametrize("attention", [True, False])
def test_a_network_for_inference_gives_its_logits_compiled_and_in_a_cuda_graph(attention: bool) -> None:
    model, clips = tiny_network(width=32, attention=attention), some_clips()
    with torch.inference_mode():
        logits = model(clips)
        fast = for_inference(model.to(GPU), torch.bfloat16)
        assert "Triton kernels" in form_of(fast)
        clips = clips.to(GPU, torch.bfloat16)
        eager, compiled = fast(clips), torch.compile(fast)
        assert near(eager, logits, 0.03)
        for _ in range(2):
            assert near(compiled(clips), eager.cpu(), 0.02)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            in_graph = compiled(clips)
        graph.replay()
        assert near(in_graph, eager.cpu(), 0.02)
