"""torch.compile: when it is chosen, what it computes, and what happens where it fails. With a backend that compiles
nothing, as a C++ compiler takes minutes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sth_core import compiled, forms, trainer
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.compiled import CompiledNetwork, compiled_for_reading, compiled_or_not, form_in_words
from sth_core.distributed import DistributedContext
from sth_core.forms import STEPS_TO_COMPILE, VIEWS_TO_COMPILE, compiling_reading, compiling_training
from sth_core.inference import for_inference
from sth_core.precision import computing_in
from sth_core.values import BadValue
from tests.test_trainer import SETTINGS, a_trainer
from tests.tiny import save_tiny, tiny_network

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def triton_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "find_spec", lambda _: True)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What torch.compile makes a program of, each time, without compiling it."""
    made: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        made.append(inputs)
        return graph.forward

    for module in (compiled, trainer):
        monkeypatch.setattr(module, "BACKEND", backend)
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: Any) -> Any:
        raise OSError("no compiler here\nand more lines")

    for module in (compiled, trainer):
        monkeypatch.setattr(module, "BACKEND", backend)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("asked", "device", "steps", "how", "wanted"),
    [
        ("auto", GPU, STEPS_TO_COMPILE, {}, True),
        ("auto", GPU, STEPS_TO_COMPILE - 1, {}, False),
        ("auto", CPU, 10**6, {}, False),
        ("auto", GPU, 10**6, {"deterministic": True}, False),
        ("auto", GPU, 10**6, {"processes": 2}, False),
        (True, CPU, 1, {"deterministic": True, "processes": 2}, True),
        (False, GPU, 10**6, {}, False),
    ],
)
def test_when_a_training_is_compiled(asked: Any, device: torch.device, steps: int, how: Any, wanted: bool) -> None:
    found = compiling_training(asked, device, steps, **how)
    assert found.wanted is wanted and str(found).startswith("yes: " if wanted else "no: ")


@pytest.mark.parametrize(
    ("device", "views", "at_once", "wanted"),
    [
        (GPU, VIEWS_TO_COMPILE, 8, True),
        (GPU, VIEWS_TO_COMPILE - 1, 8, False),
        (GPU, VIEWS_TO_COMPILE, 1, False),
        (CPU, 10**6, 8, False),
    ],
)
def test_when_a_network_that_reads_is_compiled(device: torch.device, views: int, at_once: int, wanted: bool) -> None:
    assert compiling_reading(device, views, at_once).wanted is wanted


def test_nothing_is_compiled_by_itself_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "find_spec", lambda _: None)
    assert str(compiling_training("auto", GPU, 10**6)) == "no: Triton is not installed"
    assert not compiling_reading(GPU, 10**6, 8).wanted


@pytest.mark.parametrize("value", ["auto", True, False])
def test_values_of_the_recipe(value: Any) -> None:
    assert replace(SETTINGS, compile=value).compile is value


def test_another_value_of_the_recipe_is_refused() -> None:
    with pytest.raises(BadValue, match="compile must be auto, or true or false, got 'always'"):
        replace(SETTINGS, compile="always")


def test_a_compiled_network_gives_logits_and_alpha_of_any_batch_by_one_program(programs: list[Any]) -> None:
    plain = for_inference(tiny_network())
    network = CompiledNetwork(plain, 5)
    with torch.inference_mode():
        for size, seen in ((5, 1), (3, 1), (4, 1), (2, 1), (1, 1), (7, 1)):
            clips = torch.randn(size, 4, 3, 32, 32)
            logits, attention = network.forward_with_attention(clips)
            right, alphas = plain.forward_with_attention(clips)
            torch.testing.assert_close(logits, right, rtol=1e-4, atol=1e-5)
            assert list(attention) == list(alphas) and attention
            for name, alpha in alphas.items():
                torch.testing.assert_close(attention[name], alpha, rtol=1e-4, atol=1e-5)
            assert len(programs) == seen, size
        torch.testing.assert_close(network(clips[:5]), right[:5], rtol=1e-4, atol=1e-5)
    assert form_in_words(network) == f"{form_in_words(plain)}; compiled by torch.compile"


def test_a_network_that_cannot_be_compiled_runs_as_it_is_and_says_why(broken: None) -> None:
    said: list[str] = []
    plain, clips = for_inference(tiny_network()), torch.randn(2, 4, 3, 32, 32)
    network = CompiledNetwork(plain, 2, said.append)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(network(clips), plain(clips))
    (sentence,) = said
    assert "no compiler here" in sentence and "\n" not in sentence and "as it is" in sentence
    assert "; not compiled: torch.compile fails (" in form_in_words(network)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
def test_full_memory_and_ctrl_c_are_no_faults_of_the_compiler(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(type(error)):
        compiled_or_not(fails, lambda: pytest.fail("not to be tried"))


def test_an_error_of_both_is_that_of_the_network() -> None:
    def fails() -> None:
        raise ValueError("wrong clips")

    with pytest.raises(ValueError, match="wrong clips"):
        compiled_or_not(lambda: 1 // 0, fails)


def test_which_networks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    network, said = for_inference(tiny_network()), list[str]()
    assert compiled_for_reading(network, 10**6, 8, said.append) is network and not said
    monkeypatch.setattr(forms, "no_compiler", lambda _: "")
    assert isinstance(compiled_for_reading(network, 10**6, 8, said.append), CompiledNetwork) and len(said) == 1
    assert compiled_for_reading(torch.nn.Linear(1, 1), 10**6, 8).weight is not None  # type: ignore[arg-type]


def trained(compile: bool, steps: int = 3) -> trainer.Trainer:
    """Of an epoch, whose last step has a clip less than the others."""
    tried = a_trainer(replace(SETTINGS, compile=compile))
    tried.said = []  # type: ignore[attr-defined]
    tried.notify = tried.said.append  # type: ignore[attr-defined]
    for _, batch in tried.batches():
        tried.step(batch)
    tried.close()
    return tried


def states_of(tried: trainer.Trainer) -> list[Tensor]:
    return list(tried.state.model.state_dict().values())


def test_a_compiled_training_gives_the_same_network_and_compiles_one_size(programs: list[Any]) -> None:
    found = trained(True)
    assert found.compiling.wanted and len(programs) == 1  # and not one of the last step, of 1 clip
    for ours, right in zip(states_of(found), states_of(trained(False)), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-3, atol=1e-5)


def test_a_training_that_cannot_be_compiled_gives_the_network_of_one_that_is_not(broken: None) -> None:
    found = trained(True)
    assert all(map(torch.equal, states_of(found), states_of(trained(False))))
    (sentence,) = found.said  # type: ignore[attr-defined]
    assert "no compiler here" in sentence and "goes on without it" in sentence
    assert not found.compiling.wanted and "no compiler here" in str(found.compiling)


def test_a_failure_in_the_backward_pass_puts_the_statistics_of_batch_norm_back(programs, monkeypatch) -> None:
    """The compiler may fail there first."""
    backward = trainer.Trainer.backward

    def failing(self: trainer.Trainer, *of: Any) -> Any:
        found = backward(self, *of)
        if self.runner is not self.state.model:
            raise RuntimeError("no backward pass")
        return found

    monkeypatch.setattr(trainer.Trainer, "backward", failing)
    assert all(map(torch.equal, states_of(trained(True)), states_of(trained(False))))


def test_of_several_processes_each_has_its_program_in_its_gradients_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "DistributedDataParallel", lambda model, _: torch.nn.Sequential(model))
    found = a_trainer(replace(SETTINGS, compile=True), DistributedContext(0, 2, CPU))
    assert found.compiling.wanted and not found.program and isinstance(found.runner, torch.nn.Sequential)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(save_tiny(tmp_path_factory.mktemp("network") / "a.safetensors"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_give_the_scores_of_autocast(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clips = tiny_network(), torch.randn(3, 4, 3, 32, 32)
    half, whole = for_inference(model, dtype), for_inference(model)
    with torch.inference_mode():
        right = model(clips)
        with torch.autocast("cpu", dtype):
            (found, alphas), (cast, cast_alphas) = (m.forward_with_attention(clips) for m in (half, whole))
        own, own_alphas = half.forward_with_attention(clips.to(dtype))
    for logits in (found, cast, own):
        assert logits.dtype == torch.float32 and (logits - right).norm() < 0.03 * right.norm()
    for name, alpha in alphas.items():
        assert alpha.dtype == own_alphas[name].dtype == torch.float32
        assert torch.allclose(alpha.sum(1), torch.ones(()), atol=1e-6)  # they are no numbers of 16 bits
        torch.testing.assert_close(alpha, cast_alphas[name], rtol=0.05, atol=0.02)
    name = "bf16" if dtype == torch.bfloat16 else "fp16"
    assert form_in_words(half) == f"{form_in_words(whole)}; weights in {name}"


def test_one_checkpoint_in_two_precisions(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU weights stay in fp32: here as on a GPU."""
    clips = torch.randn(2, 4, 3, 32, 32)
    on_gpu = lambda _: torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32  # noqa: E731
    with torch.inference_mode():
        with computing_in("bf16", CPU):
            assert checkpoint.inference_model.fc.weight.dtype == torch.float32
        monkeypatch.setattr("sth_core.checkpoint.weight_type", on_gpu)
        right = checkpoint.model(clips)
        for precision, dtype in 2 * (("bf16", torch.bfloat16), ("fp32", torch.float32), ("fp16", torch.float16)):
            with computing_in(precision, CPU):
                network = checkpoint.inference_model
                assert network is checkpoint.inference_model
                assert network.backbone.conv1.weight.dtype == dtype  # type: ignore[union-attr]
                tolerance = 1e-5 if precision == "fp32" else 0.03
                assert (network(clips) - right).norm() < tolerance * right.norm()


def test_which_type_weights_have(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert forms.weight_type(CPU) == forms.weight_type(GPU) == torch.float32
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: torch.float16)
    assert forms.weight_type(GPU) == torch.float16 and forms.weight_type(CPU) == torch.float32


def test_a_recording_is_compiled_where_it_pays(programs, scenes_folder: Path, tmp_path: Path, monkeypatch) -> None:
    from analysis.runs.dataset_options import DatasetOptions
    from analysis.runs.recording import record
    from analysis.runs.run_directory import open_run, predictions
    from tests.tiny import attention_of, copy_clips

    network = save_tiny(tmp_path / "a.safetensors")
    few, said = copy_clips(scenes_folder, tmp_path / "few", 5), list[str]()
    record(network, few, tmp_path / "plain", DatasetOptions(batch_size=3))
    monkeypatch.setattr(forms, "no_compiler", lambda _: "")
    monkeypatch.setattr(forms, "VIEWS_TO_COMPILE", 5)
    record(network, few, tmp_path / "fast", DatasetOptions(batch_size=3, notify=said.append))
    plain, fast = (open_run(tmp_path / name) for name in ("plain", "fast"))
    assert len(programs) == 1 and any("is compiled first" in line for line in said)
    assert fast.meta["form"] == f"{plain.meta['form']}; compiled by torch.compile"
    assert predictions(fast)["confidence"].tolist() == pytest.approx(predictions(plain)["confidence"].tolist(), 1e-4)
    alphas = [attention_of(run.path)["alpha_temporal"].tolist() for run in (fast, plain)]
    assert alphas[0] == pytest.approx(alphas[1], 1e-4)
