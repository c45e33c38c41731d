"""The Triton kernels against PyTorch's operations, in Triton's interpreter; and compiled for an H100."""

import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import sth_core.inference
import sth_core.sth_conv
from sth_core import forms
from sth_core.convolution import UNOBSERVED, Tap, temporal_conv

triton = pytest.importorskip("triton", reason="Triton is for Linux alone")
from triton.runtime import interpreter

from sth_core.gpu_conv import KernelHybridConv, error_of_kernels, fused_forward
from sth_core.inference import fold_batch_norm, for_inference
from sth_core.kernels import combine, packed, products, window_sums
from sth_core.sth_conv import DepthwiseSTHConv, HybridConv, STHConv, per_frame
from tests.tiny import tiny_network


def why_not_interpreted() -> str:
    """Why Triton's interpreter cannot run the kernels here; empty if it can."""
    if torch.cuda.is_available():
        return "on a GPU the kernels are not interpreted"
    old = "int(self.handle.data)" in inspect.getsource(interpreter)  # of an array, which NumPy refuses since 2.4
    return f"Triton {triton.__version__} interprets loops with NumPy before 2.4 only" if old and NUMPY >= (2, 4) else ""


NUMPY = tuple(map(int, np.__version__.split(".")[:2]))
ABLE = pytest.mark.skipif(bool(why_not_interpreted()), reason=why_not_interpreted())


def noise(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


# types, C_in of the types, C_out, frames, dilation, (H, W): a type in a tile, several, a part of one, odd sizes
SHAPES = [
    (4, 16, 16, 3, 1, (5, 5)),
    (4, 32, 64, 4, 1, (9, 8)),
    (1, 6, 24, 3, 1, (3, 5)),
    (2, 12, 20, 3, 2, (5, 5)),
    (8, 64, 64, 2, 3, (3, 5)),
    (1, 32, 80, 2, 1, (2, 3)),
]


@ABLE
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(("types", "C", "N", "T", "dilation", "size"), SHAPES)
def test_the_sum_of_eq_3_and_its_gradients_are_those_of_plain_operations(
    types: int, C: int, N: int, T: int, dilation: int, size: tuple[int, int], scaled: bool
) -> None:
    inputs = [noise(2 * T, C, *size), noise(2 * T, N, *size, seed=1), noise(N, C // types, 3, seed=2)]
    alphas = [noise(2, N, seed=s) for s in (3, 4)] if scaled else []
    x, base, weight, *scales = [w.requires_grad_() for w in (*inputs, *alphas)]
    temporal = temporal_conv(x, weight, frames=T, dilation=dilation, groups=types)
    alpha_s, alpha_t = per_frame(torch.stack(scales, 1), T) if scaled else (torch.ones(()), torch.ones(()))
    expected = alpha_s * base + alpha_t * temporal
    found = combine(x, packed(weight), base, *(scales or (None, None)), None, None, types, T, dilation, False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5))  # not the memory format of the kernels
    for ours, theirs in zip(
        torch.autograd.grad(found, [x, base, weight, *scales], dy),
        torch.autograd.grad(expected, [x, base, weight, *scales], dy),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@ABLE
def test_the_shift_and_the_relu_and_a_view_of_every_second_pixel() -> None:
    x, weight, shift = noise(6, 24, 6, 8), noise(16, 4, 3, seed=1), noise(16, seed=2)
    found = combine(x[:, :16, ::2, ::2], packed(weight), None, None, None, None, shift, 4, 3, 1, True)
    expected = F.relu(temporal_conv(x[:, :16], weight, frames=3, stride=2, groups=4) + shift[:, None, None])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@ABLE
def test_sums_split_over_programs_are_the_whole_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    x, dy, base = noise(4, 8, 9, 17), noise(4, 8, 9, 17, seed=1), noise(4, 8, 9, 17, seed=2)
    split = products(x, dy, base, 2, 4, 2, 1)  # three tiles of pixels
    monkeypatch.setattr("sth_core.kernels.PROGRAMS", 1)
    for a, b in zip(split, products(x, dy, base, 2, 4, 2, 1), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(split[1], (base * dy).sum((2, 3)).view(2, 2, 8).sum(1), rtol=1e-4, atol=1e-4)


@ABLE
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_the_sum_of_what_each_tap_reads_is_that_of_a_convolution_with_it_alone(stride: int, dilation: int) -> None:
    x = noise(2, 5, 7, 6)
    taps = torch.eye(9).view(9, 1, 3, 3).repeat(5, 1, 1, 1)  # channel by channel
    expected = F.conv2d(x, taps, None, stride, dilation, dilation, groups=5).sum((2, 3)).view(2, 5, 9).transpose(1, 2)
    torch.testing.assert_close(window_sums(x, stride, dilation), expected, rtol=1e-5, atol=1e-5)


LAYERS = [
    {},
    {"stride": 2},
    {"dilation": 2, "temporal_fraction": 1 / 2},
    {"attention": False},
    {"variant": "merge", "stride": 2},
    {"temporal_fraction": 1},
]


def layer(**options: object) -> STHConv:
    return STHConv(8, 16, **({"frames": 3, "attention": True, "name": "layer"} | options))


class Swap(Tap):
    """An intervention: each clip gets the alpha of another one."""

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        self.alpha = alpha
        return alpha.flip(0)


@ABLE
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_a_layer_and_its_gradients_are_those_of_the_plain_form(options: dict) -> None:
    torch.manual_seed(0)
    conv, x = layer(**options), noise(6, 8, 7, 6).requires_grad_()
    plain, ours = Swap(), Swap()
    expected, found = conv(x, plain), fused_forward(conv, x, ours)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if conv.integration is not None:
        torch.testing.assert_close(ours.alpha, plain.alpha, rtol=1e-4, atol=1e-6)
    weights = [w for w in (x, *conv.parameters()) if w.numel()]  # with p = 1 there is no spatial one
    found_gradients = torch.autograd.grad(found.square().sum(), weights)
    for a, b in zip(found_gradients, torch.autograd.grad(expected.square().sum(), weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()))


@ABLE
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_a_layer_for_inference_is_the_layer_and_its_batch_norm(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv, norm = layer(**options), torch.nn.BatchNorm2d(16).eval()
    for w in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(w, 0.5, 1.5)
    monkeypatch.setattr(sth_core.inference, "kernels_infer", lambda conv, dtype: True)
    plain, ours = Swap(), Swap()
    with torch.no_grad():
        fast = fold_batch_norm(conv, norm, torch.float32)
        assert isinstance(fast, KernelHybridConv)
        fast.relu = True
        x = noise(6, 8, 7, 6)
        torch.testing.assert_close(fast(x, ours), F.relu(norm(conv(x, plain))), rtol=1e-4, atol=1e-5)
    if conv.integration is not None:
        torch.testing.assert_close(ours.alpha, plain.alpha, rtol=1e-4, atol=1e-6)


@ABLE
def test_a_network_for_inference_folds_its_relus_into_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_network(frames=2)
    clips = noise(4, 3, 24, 24).view(2, 2, 3, 24, 24)
    with torch.no_grad():
        logits, attention = model.forward_with_attention(clips)
        monkeypatch.setattr(sth_core.inference, "kernels_infer", lambda conv, dtype: True)
        fast = for_inference(model)
        found, alpha = fast.forward_with_attention(clips)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    for name, expected in attention.items():
        torch.testing.assert_close(alpha[name], expected, rtol=1e-4, atol=1e-6)
    layers = [m for m in fast.modules() if isinstance(m, KernelHybridConv)]
    assert [m.relu for m in layers] == [True, False] * 8  # after the second, the block adds its input first
    assert not any(isinstance(m, torch.nn.ReLU) for m in fast.modules())
    half = for_inference(model, torch.bfloat16).backbone.layer1[0].conv1
    assert half.weight_spatial.dtype == half.weight_temporal.dtype == torch.bfloat16
    assert {w.dtype for w in (half.squeeze, half.scale, half.shift, *half.integration.parameters())} == {torch.float32}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors that have a GPU's device and types, and no numbers."""
    monkeypatch.setattr(forms, "kernels_work", lambda: True)
    with FakeTensorMode(), torch.device("cuda"):
        yield


@pytest.fixture
def half(cuda: None) -> Iterator[None]:
    """As under torch.autocast("cuda", torch.bfloat16), which needs a GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", False)


class Branches(Tap):
    def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        self.dtypes = (spatial.dtype, temporal.dtype)
        return spatial, temporal


@pytest.mark.usefixtures("half")
def test_under_autocast_a_layer_stays_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def combine(x: Tensor, weight: Tensor, base: Tensor, *_: object) -> Tensor:
        assert x.dtype == weight.dtype == base.dtype
        return torch.empty_like(base)

    monkeypatch.setattr("sth_core.gpu_conv.combine", combine)
    conv, tap = layer(), Branches()
    x = torch.empty(6, 8, 7, 6, dtype=torch.bfloat16)
    assert conv(x, tap).dtype == torch.bfloat16  # the plain form; softmax gives float32 there
    assert tap.dtypes == (torch.bfloat16, torch.bfloat16)
    fast = KernelHybridConv(conv, torch.empty(16), torch.empty(16))
    monkeypatch.setattr("sth_core.gpu_conv.window_sums", lambda x, *_: torch.empty(len(x), 9, x.shape[1]))
    assert fast(x.float(), tap).dtype == torch.bfloat16  # its own weights stay in float32
    swap = Swap()
    assert fused_forward(conv, x, swap).dtype == torch.bfloat16
    assert swap.alpha.dtype == torch.float32


CHOICES = [
    # layer, type of x, TF32 allowed, tap, whether the kernels serve
    (lambda: layer(), torch.bfloat16, False, UNOBSERVED, True),
    (lambda: layer(), torch.float16, False, Swap(), True),
    (lambda: layer(), torch.float32, True, UNOBSERVED, True),
    (lambda: layer(), torch.float32, False, UNOBSERVED, False),
    (lambda: layer(), torch.bfloat16, False, Branches(), False),
    (lambda: DepthwiseSTHConv(8, 8, frames=3), torch.bfloat16, False, UNOBSERVED, False),
    (lambda: STHConv(2048, 16, frames=3), torch.bfloat16, False, UNOBSERVED, False),  # 512 channels of a type
    (lambda: STHConv(16, 512, variant="merge", frames=3), torch.bfloat16, False, UNOBSERVED, False),
]


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(("make", "dtype", "tf32", "tap", "serve"), CHOICES)
def test_which_form_computes_a_layer(make, dtype, tf32, tap, serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    torch.set_default_dtype(dtype)
    try:
        conv: HybridConv = make()
    finally:
        torch.set_default_dtype(torch.float32)
    x = torch.empty(3, conv.in_channels, 5, 5, dtype=dtype)
    assert forms.kernels_serve(conv, x, tap) is serve
    assert not forms.kernels_serve(conv, x.to("cpu"), tap)
    forward = []
    monkeypatch.setattr("sth_core.gpu_conv.fused_forward", lambda *_: forward.append(1))
    conv(x, tap)
    assert bool(forward) is serve


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("make", "dtype", "infer"),
    [
        (lambda: layer(), torch.bfloat16, True),
        (lambda: layer(), torch.float32, False),
        (lambda: DepthwiseSTHConv(8, 8, frames=3), torch.bfloat16, False),
        (lambda: STHConv(2048, 16, frames=3), torch.bfloat16, False),  # 512 channels of a type
        (lambda: STHConv(16, 512, variant="merge", frames=3), torch.bfloat16, True),  # of its input alone
    ],
)
def test_which_layers_for_inference_the_kernels_compute(make, dtype, infer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert forms.kernels_infer(make(), dtype) is infer
    with torch.device("cpu"):
        assert not forms.kernels_infer(make(), dtype)


@pytest.mark.parametrize(
    ("make", "faster"),
    [
        (lambda: STHConv(128, 16, frames=3), True),  # four blocks of 32 channels
        (lambda: STHConv(64, 16, frames=3), False),  # of 16
        (lambda: STHConv(96, 24, frames=3, temporal_fraction=1 / 3), False),  # three
        (lambda: DepthwiseSTHConv(128, 128, frames=3), False),
        (lambda: STHConv(128, 16, frames=3).to("meta"), False),
    ],
)
def test_where_grouped_kernels_are_faster(make, faster: bool) -> None:
    assert forms.grouped_are_faster(make()) is faster


@ABLE
def test_the_kernels_are_right_in_half_precision() -> None:
    with torch.inference_mode():  # as in a command that records
        assert error_of_kernels(torch.device("cpu")) < 1e-3  # fp16 has 11 bits


@pytest.mark.parametrize(
    ("error", "says"),
    [(0.001, ""), (0.5, "are wrong here by 50.0%"), (float("nan"), "are wrong"), ("no ptxas", "no ptxas")],
)
def test_kernels_that_do_not_run_or_are_wrong_are_not_used_and_that_is_said(error, says, monkeypatch) -> None:
    def fake(device: torch.device) -> float:
        if isinstance(error, str):
            raise RuntimeError(error)
        return error

    monkeypatch.setattr("sth_core.gpu_conv.error_of_kernels", fake)
    forms.tried_kernels.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert forms.kernels_work() is forms.kernels_work() is (not says)
    assert len(said) == bool(says) and all(says in str(w.message) for w in said)
    forms.tried_kernels.cache_clear()


def test_the_compiler_takes_for_a_constant_whether_the_kernels_work() -> None:
    def marked() -> None: ...

    assert vars(torch.compiler.assume_constant_result(marked)) == vars(forms.kernels_work) != {}


def test_that_triton_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "find_spec", lambda name: None)
    forms.tried_kernels.cache_clear()
    with pytest.warns(UserWarning, match="Triton is not installed; STH-Convs run in their plain form"):
        assert not forms.kernels_work()
    forms.tried_kernels.cache_clear()


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sth_core import kernels as k

def print_shared_memory(kernel, consts, pointer, warps, stages):
    names = kernel.arg_names
    pointers = dict.fromkeys(("x", "weight", "base", "out", "dy"), pointer)
    pointers |= dict.fromkeys(("base_scale", "scale", "input_scale", "shift", "found", "dots", "sums"), "*fp32")
    signature = {n: "constexpr" if n in consts else pointers.get(n, "i32") for n in names}
    multiples = [n for n in names if n in pointers or n in ("N", "C", "x_frame", "x_line", "x_pixel")]
    multiples = {(names.index(n),): [["tt.divisibility", 16]] for n in multiples}
    source = ASTSource(kernel, signature, {(names.index(n),): v for n, v in consts.items()}, multiples)
    print(triton.compile(source, GPUTarget("cuda", 90, 32), {"num_warps": warps, "num_stages": stages}).metadata.shared)

outputs, channels, warps = k.combine_tiles(128, 512, 128, 4)  # the largest tiles
consts = dict(R=128, M=128, HAS_BASE=True, PRECISION="tf32", PIXELS=64, CHANNELS=channels, OUTPUTS=outputs)
flags = dict(HAS_SCALE=True, HAS_INPUT_SCALE=False, HAS_SHIFT=True, RELU=True)
print_shared_memory(k.combine_kernel, consts | flags, "*fp32", warps, 2)
shared = dict(PRECISION="tf32", CHANNELS=64)
consts = dict(R=64, M=64, HAS_BASE=True, SPLITS=4, CHUNKS=1, PIXELS=64, OUTPUTS=64)
print_shared_memory(k.products_kernel, shared | consts, "*bf16", 4, 2)
print_shared_memory(k.window_sums_kernel, shared | dict(PIXELS=128), "*fp32", 4, 4)
"""


def test_the_kernels_compile_for_an_h100_and_fit_into_its_multiprocessors(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shared = [int(word) for word in done.stdout.split()]
    assert len(shared) == 3 and max(shared) <= 227 * 1024
