"""torch.compile: when it is chosen, what it computes, and what happens where it fails. With a backend that compiles
nothing, but for one test of a tiny network, as a C++ compiler takes minutes."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from analysis.explain.alpha_replacement import REPLACEMENTS, replacing
from sth_core import compiled, compiled_together, forms, trainer
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.compiled import CompiledNetwork, compiled_for_reading, compiled_or_not, form_facts, form_in_words
from sth_core.convolution import Tap
from sth_core.distributed import DistributedContext
from sth_core.evaluation import Accuracy
from sth_core.forms import STEPS_TO_COMPILE, VIEWS_TO_COMPILE, compiling_reading, compiling_training
from sth_core.inference import for_inference
from sth_core.precision import computing_in
from sth_core.sth_conv import STHConv
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

    for module in (compiled, compiled_together, trainer):
        monkeypatch.setattr(module, "BACKEND", backend)
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: Any) -> Any:
        raise OSError("no compiler here\nand more lines")

    for module in (compiled, compiled_together, trainer):
        monkeypatch.setattr(module, "BACKEND", backend)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("asked", "device", "steps", "how", "wanted"),
    [
        ("auto", GPU, STEPS_TO_COMPILE, {}, True),
        ("auto", GPU, STEPS_TO_COMPILE - 1, {}, False),
        ("auto", CPU, 10**6, {}, False),
        ("auto", GPU, 10**6, {"deterministic": True}, False),
        (True, CPU, 1, {"deterministic": True}, True),
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
    same, compiling = compiled_for_reading(network, 10**6, 8, said.append)
    assert same is network and not said
    assert form_facts(same, compiling) == {"form": form_in_words(network), "compiled": "no: it is for a GPU"}
    monkeypatch.setattr(forms, "no_compiler", lambda _: "")
    fast, compiling = compiled_for_reading(network, 10**6, 8, said.append)
    assert isinstance(fast, CompiledNetwork) and len(said) == 1
    assert form_facts(fast, compiling)["compiled"] == "yes: 1,000,000 views are left"
    fast.failed = "no compiler here"
    assert form_facts(fast, compiling)["compiled"] == "no: torch.compile fails (no compiler here)"
    other = torch.nn.Linear(1, 1)
    same, compiling = compiled_for_reading(other, 10**6, 8)  # type: ignore[arg-type]
    assert same is other and "another library" in str(compiling)
    assert "deterministic" in str(compiled_for_reading(network, 10**6, 8, deterministic=True)[1])


def test_one_program_serves_every_replacement_of_alpha(programs: list[Any]) -> None:
    plain, clips = for_inference(tiny_network(seed=1)), torch.randn(3, 4, 3, 32, 32)
    network = CompiledNetwork(plain, 4)
    with torch.inference_mode():
        alphas = plain.forward_with_attention(clips)[1]
        mean = {name: alpha.mean(0) for name, alpha in alphas.items()}
        other = {name: alpha.roll(1, 0) for name, alpha in alphas.items()}
        network.forward_with_attention(clips)
        for kind, layers in product(REPLACEMENTS, (list(alphas)[2:3], list(alphas))):
            tap = replacing(kind, layers, mean, other)
            torch.testing.assert_close(network(clips, tap), plain(clips, tap), rtol=1e-4, atol=1e-5)
        assert len(programs) == 1
    with torch.inference_mode():
        assert torch.equal(network(clips, Doubled()), plain(clips, Doubled())) and len(programs) == 1


class Doubled(Tap):
    """A tap that is no `AlphaReplacement`."""

    def features(self, layer: str, x: Tensor) -> Tensor:
        return 2 * x


def test_a_program_goes_on_with_the_weights_after_more_training(programs: list[Any]) -> None:
    before, after = (for_inference(tiny_network(seed=seed)) for seed in (0, 1))
    network, clips = CompiledNetwork(before, 2), torch.randn(2, 4, 3, 32, 32)
    with torch.inference_mode():
        first = network(clips)
        network.take_weights(after)
        torch.testing.assert_close(network(clips), after(clips), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(clips), first, rtol=1e-2) and len(programs) == 1


def trained(compile: bool, steps: int = 3) -> trainer.Trainer:
    """Of an epoch, whose last step has a clip less than the others."""
    return after_an_epoch(a_trainer(replace(SETTINGS, compile=compile)))


def after_an_epoch(tried: trainer.Trainer) -> trainer.Trainer:
    """The trainer, whose sentences are in `said`."""
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


class Exchanging(torch.nn.Module):
    """In place of DistributedDataParallel, without another process."""

    def __init__(self, module: torch.nn.Module, _: object) -> None:
        super().__init__()
        self.module, self.passes = module, list[int]()

    def forward(self, clips: Tensor) -> Tensor:
        self.passes.append(len(clips))
        return self.module(clips)

    def no_sync(self) -> Any:
        return nullcontext()


@dataclass(frozen=True)
class OneOfTwo(DistributedContext):
    """The first of two processes, which the other tells why compiling failed there."""

    told: str = ""

    def total(self, *values: float) -> list[float]:
        return list(values)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.told]


def trained_as_one_of_two(told: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    monkeypatch.setattr(trainer, "DistributedDataParallel", Exchanging)
    return after_an_epoch(a_trainer(replace(SETTINGS, **changes), OneOfTwo(0, 2, CPU, told)))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_of_several_processes_each_compiles_its_network(programs: list[Any], monkeypatch, accumulate: int) -> None:
    found = trained_as_one_of_two("", monkeypatch, compile=True, accumulate=accumulate)
    right = trained_as_one_of_two("", monkeypatch, compile=False, accumulate=accumulate)
    assert len(programs) == 1 and found.compiling.wanted and not found.said
    assert len(found.runner.passes) == len(right.runner.passes) + 1  # one pass to compile, of a step's size
    assert found.runner.passes[0] == right.runner.passes[0]
    for ours, expected in zip(states_of(found), states_of(right), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("here", [True, False], ids=["here", "in the other process"])
def test_if_one_process_cannot_compile_none_does(here: bool, request, monkeypatch) -> None:
    request.getfixturevalue("broken" if here else "programs")
    told = "" if here else "OSError: no compiler there"
    found = trained_as_one_of_two(told, monkeypatch, compile=True)
    right = trained_as_one_of_two("", monkeypatch, compile=False)
    assert all(map(torch.equal, states_of(found), states_of(right)))
    assert not found.compiling.wanted and len(found.said) == 1
    assert "no compiler " + ("here" if here else "there") in str(found.compiling)


def test_all_evaluations_of_a_training_share_a_program(programs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clips, seen = torch.randn(8, 2, 3, 32, 32), []

    def accuracy(network: Any, *_: Any) -> Accuracy:
        with torch.inference_mode():
            seen.append(network(clips))
        return Accuracy(0.5, 8, {})

    monkeypatch.setattr(trainer, "accuracy", accuracy)
    monkeypatch.setattr(forms, "no_compiler", lambda _: "")
    monkeypatch.setattr(forms, "VIEWS_TO_COMPILE", 0)
    tried = a_trainer(replace(SETTINGS, compile=False, evaluate_every=1))
    for _ in range(2):
        tried.epoch_metrics()
        torch.testing.assert_close(seen[-1], for_inference(tried.state.model)(clips), rtol=1e-4, atol=1e-5)
        torch.nn.init.normal_(tried.state.model.fc.weight)
    assert len(programs) == 1 and not torch.allclose(seen[0], seen[1], rtol=0.1)
    assert tried.evaluated["compiled"].startswith("yes: ") and "compiled by torch.compile" in tried.evaluated["form"]


@pytest.mark.long
def test_the_real_compiler_gives_the_numbers_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """TorchInductor and the C++ compiler, of one layer's logits, alpha and gradients."""
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.fail("no C++ compiler (g++) is installed, without which torch.compile cannot be tested on a CPU")
    torch._dynamo.reset()
    conv = STHConv(8, 8, attention=True, frames=2).train()
    x = torch.randn(4, 8, 6, 6)
    found, right = (
        torch.autograd.grad(f(x).square().sum(), list(conv.parameters())) for f in (torch.compile(conv), conv)
    )
    for ours, expected in zip(found, right, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


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
