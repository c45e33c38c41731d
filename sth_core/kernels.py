"""Triton kernels of an STH-Conv on a GPU, each of which reads an activation once.

| operation     | what it computes                                                                             |
|---------------|----------------------------------------------------------------------------------------------|
| `combine`     | Eq. 3, with the temporal convolution inside; its gradient                                    |
| `products`    | the sums that the gradients of the temporal weight and of alpha need                         |
| `window_sums` | the sums of the input from which the means of O_S and O_T follow (alpha before O_S is read)  |

Layout: activations are (B*T, C, H, W) with the channels innermost, so that a frame is a matrix of pixels by channels.
A temporal weight is packed as (3, R, N): 3 taps, the R input channels of a kernel type, the N output channels of all
types. With M = N / types, output channel n is of type n // M, and type g reads the input channels [g R, (g + 1) R).

Without a GPU, Triton's interpreter runs the kernels (TRITON_INTERPRET=1); tests/test_kernels.py compares them with
PyTorch's operations there, and compiles them for an H100.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.library import triton_op, wrap_triton
from triton.runtime.jit import JITFunction

PROGRAMS = 528  # of `products`: four for each multiprocessor of an H100


@triton.jit
def load_frame(x, t, T, places, mask, stride):
    """The pixels of frame t of a clip; zeros where there is no such frame."""
    return tl.load(x + t * stride + places, mask=mask & (t >= 0) & (t < T), other=0.0)


@triton.jit
def load_tap(weight, tap, R: tl.constexpr, N, channels, outputs, mask, factors, SCALED: tl.constexpr):
    """A tile of a packed weight, its rows times `factors`; zeros where channel and output are of different types."""
    w = tl.load(weight + tap * R * N + (channels % R)[:, None] * N + outputs[None, :], mask=mask, other=0.0)
    if SCALED:
        w = (w.to(tl.float32) * factors[:, None]).to(w.dtype)
    return w


@triton.jit
def combine_kernel(
    x, weight, base, base_scale, scale, input_scale, shift, out,
    T, P, W, N, dilation, x_frame, x_line, x_pixel, C,
    R: tl.constexpr, M: tl.constexpr, HAS_BASE: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_INPUT_SCALE: tl.constexpr,
    HAS_SHIFT: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """A program computes PIXELS pixels and OUTPUTS channels of the frames r, r + dilation, ... of a clip.

    The three input frames of an output frame stay in registers for the next one, and a fourth is on its way.
    """
    pixels = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    outputs = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    channels = (tl.program_id(1) * OUTPUTS) // M * R + tl.arange(0, CHANNELS)
    clip, first = (tl.program_id(2) // dilation).to(tl.int64), tl.program_id(2) % dilation
    is_output, is_channel = outputs < N, channels < C
    mask = (channels[:, None] // R == outputs[None, :] // M) & is_channel[:, None] & is_output[None, :]
    factors = tl.zeros((CHANNELS,), tl.float32)
    if HAS_INPUT_SCALE:
        factors = tl.load(input_scale + clip * C + channels, mask=is_channel, other=0.0)
    before = load_tap(weight, 0, R, N, channels, outputs, mask, factors, HAS_INPUT_SCALE)
    centre = load_tap(weight, 1, R, N, channels, outputs, mask, factors, HAS_INPUT_SCALE)
    after = load_tap(weight, 2, R, N, channels, outputs, mask, factors, HAS_INPUT_SCALE)
    alpha = tl.zeros((OUTPUTS,), tl.float32)
    base_alpha = tl.zeros((OUTPUTS,), tl.float32)
    moved = tl.zeros((OUTPUTS,), tl.float32)
    if HAS_SCALE:
        alpha = tl.load(scale + clip * N + outputs, mask=is_output, other=0.0)
        if HAS_BASE:
            base_alpha = tl.load(base_scale + clip * N + outputs, mask=is_output, other=0.0)
    if HAS_SHIFT:
        moved = tl.load(shift + outputs, mask=is_output, other=0.0)

    read = (pixels < P)[:, None] & is_channel[None, :]
    written = (pixels < P)[:, None] & is_output[None, :]
    sources = (pixels // W * x_line + pixels % W * x_pixel)[:, None] + channels[None, :]
    targets = clip * T * P * N + pixels[:, None] * N + outputs[None, :]
    x += clip * T * x_frame
    previous = tl.zeros((PIXELS, CHANNELS), x.dtype.element_ty)
    current = load_frame(x, first, T, sources, read, x_frame)
    following = load_frame(x, first + dilation, T, sources, read, x_frame)
    for t in range(first, T, dilation):
        ahead = load_frame(x, t + 2 * dilation, T, sources, read, x_frame)
        o = tl.zeros((PIXELS, OUTPUTS), tl.float32)
        if HAS_BASE:
            o = tl.load(base + targets + t * P * N, mask=written, other=0.0).to(tl.float32)
        y = tl.dot(previous, before, input_precision=PRECISION)
        y = tl.dot(current, centre, y, input_precision=PRECISION)
        y = tl.dot(following, after, y, input_precision=PRECISION)
        if HAS_SCALE:
            y = y * alpha[None, :] + o * base_alpha[None, :]
        else:
            y += o
        if HAS_SHIFT:
            y += moved[None, :]
        if RELU:
            y = tl.maximum(y, 0.0)
        tl.store(out + targets + t * P * N, y.to(out.dtype.element_ty), mask=written)
        previous, current, following = current, following, ahead


@triton.jit
def products_kernel(
    x, dy, base, found, dots,
    T, P, W, N, dilation, x_frame, x_line, x_pixel, C, tiles,
    R: tl.constexpr, M: tl.constexpr, HAS_BASE: tl.constexpr, PRECISION: tl.constexpr, SPLITS: tl.constexpr,
    CHUNKS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """A program sums over every SPLITS-th tile of pixels and the frames r, r + dilation, ... of a clip."""
    block, chunk = tl.program_id(1) // CHUNKS, tl.program_id(1) % CHUNKS
    outputs = block * OUTPUTS + tl.arange(0, OUTPUTS)
    channels = (block * OUTPUTS) // M * R + chunk * CHANNELS + tl.arange(0, CHANNELS)
    clip, first = (tl.program_id(2) // dilation).to(tl.int64), tl.program_id(2) % dilation
    is_output, is_channel = outputs < N, channels < C
    before = tl.zeros((CHANNELS, OUTPUTS), tl.float32)
    centre = tl.zeros((CHANNELS, OUTPUTS), tl.float32)
    after = tl.zeros((CHANNELS, OUTPUTS), tl.float32)
    dot = tl.zeros((OUTPUTS,), tl.float32)
    x += clip * T * x_frame
    for number in range(tl.program_id(0), tiles, SPLITS):
        pixels = number * PIXELS + tl.arange(0, PIXELS)
        read = (pixels < P)[:, None] & is_channel[None, :]
        written = (pixels < P)[:, None] & is_output[None, :]
        sources = (pixels // W * x_line + pixels % W * x_pixel)[:, None] + channels[None, :]
        targets = clip * T * P * N + pixels[:, None] * N + outputs[None, :]
        previous = tl.zeros((PIXELS, CHANNELS), x.dtype.element_ty)
        current = load_frame(x, first, T, sources, read, x_frame)
        for t in range(first, T, dilation):
            following = load_frame(x, t + dilation, T, sources, read, x_frame)
            d = tl.load(dy + targets + t * P * N, mask=written, other=0.0)
            before = tl.dot(tl.trans(previous), d, before, input_precision=PRECISION)
            centre = tl.dot(tl.trans(current), d, centre, input_precision=PRECISION)
            after = tl.dot(tl.trans(following), d, after, input_precision=PRECISION)
            if HAS_BASE:  # a constant, so that a kernel without a base has no load
                if chunk == 0:
                    o = tl.load(base + targets + t * P * N, mask=written, other=0.0)
                    dot += tl.sum(o.to(tl.float32) * d.to(tl.float32), 0)
            previous, current = current, following
    part = (tl.program_id(2) * SPLITS + tl.program_id(0)).to(tl.int64)
    mask = (channels[:, None] // R == outputs[None, :] // M) & is_channel[:, None] & is_output[None, :]
    places = found + part * 3 * R * N + (channels % R)[:, None] * N + outputs[None, :]
    tl.store(places, before, mask=mask)
    tl.store(places + R * N, centre, mask=mask)
    tl.store(places + 2 * R * N, after, mask=mask)
    if HAS_BASE:
        if chunk == 0:
            tl.store(dots + part * N + outputs, dot, mask=is_output)


@triton.jit
def window_sums_kernel(
    x, sums, C, H, W, H_out, W_out, stride, dilation,
    PRECISION: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A program sums CHANNELS channels of a frame: a matrix product of which tap reads which pixel with the pixels."""
    frame = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    taps = tl.arange(0, 16)  # of which nine are taps
    down, right = (taps // 3 - 1) * dilation, (taps % 3 - 1) * dilation
    total = tl.zeros((16, CHANNELS), tl.float32)
    for begin in range(0, H * W, PIXELS):
        pixels = begin + tl.arange(0, PIXELS)
        mask = (pixels < H * W)[:, None] & (channels < C)[None, :]
        values = tl.load(x + frame * H * W * C + pixels[:, None] * C + channels[None, :], mask=mask, other=0.0)
        i, j = pixels[None, :] // W - down[:, None], pixels[None, :] % W - right[:, None]
        reads = (i >= 0) & (j >= 0) & (i % stride == 0) & (j % stride == 0)
        reads = reads & (i // stride < H_out) & (j // stride < W_out)
        total = tl.dot(reads.to(values.dtype), values, total, input_precision=PRECISION)
    places = sums + (frame * 9 + taps[:, None]) * C + channels[None, :]
    tl.store(places, total, mask=(taps < 9)[:, None] & (channels < C)[None, :])


def launcher(kernel):
    """What launches a kernel inside a `triton_op`; Triton's interpreter does it alone."""
    return wrap_triton(kernel) if isinstance(kernel, JITFunction) else kernel


def precision() -> str:
    """How tiles of float32 are multiplied: as PyTorch's convolutions multiply them."""
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"


def tile(size: int, most: int) -> int:
    """A power of two, 16 or more, that holds `size`, or `most`."""
    return max(16, min(most, triton.next_power_of_2(size)))


def channels_read(outputs: int, R: int, M: int) -> int:
    """The input channels that a tile of output channels reads: those of each type in it."""
    aligned = outputs % M == 0 or M % outputs == 0
    return R * (-(-outputs // M) + (not aligned))


def combine_tiles(R: int, N: int, M: int, itemsize: int) -> tuple[int, int, int]:
    """OUTPUTS, CHANNELS and warps of `combine_kernel`, so that weights and frames fit into a multiprocessor."""
    outputs = tile(N, 64 if R * itemsize <= 128 else 32)
    channels = tile(channels_read(outputs, R, M), 512)
    return outputs, channels, 4 if channels * itemsize <= 128 else 8


@triton_op("sth::combine", mutates_args={})
def combine(
    x: Tensor, weight: Tensor, base: Tensor | None, base_scale: Tensor | None, scale: Tensor | None,
    input_scale: Tensor | None, shift: Tensor | None, types: int, frames: int, dilation: int, relu: bool,
) -> Tensor:  # fmt: skip
    """base_scale base + scale (weight * (input_scale x)) + shift, where * is the convolution over time.

    Args:
        x: (B*T, types R, H, W), its channels adjacent in memory.
        weight: packed, (3, R, N), of the type of x.
        base: (B*T, N, H, W), the channels innermost, of the type of x; None for 0.
        base_scale, scale: (B, N) in float32; None for 1.
        input_scale: (B, types R) in float32; None for 1.
        shift: (N,) in float32; None for 0.
        types, frames, dilation: the number of kernel types, T, and the frames from one tap to the next.
        relu: apply a ReLU. Gradients are those of a call without `input_scale`, `shift` and `relu`.
    """
    (BT, _, H, W), (_, R, N) = x.shape, weight.shape
    out = torch.empty((BT, N, H, W), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    pixels, (outputs, channels, warps) = 64, combine_tiles(R, N, N // types, x.element_size())
    grid = (triton.cdiv(H * W, pixels), triton.cdiv(N, outputs), BT // frames * dilation)
    absent = weight  # a pointer that the kernel does not follow
    launcher(combine_kernel)[grid](
        x, weight, absent if base is None else base, absent if base_scale is None else base_scale,
        absent if scale is None else scale, absent if input_scale is None else input_scale,
        absent if shift is None else shift, out,
        frames, H * W, W, N, dilation, x.stride(0), x.stride(2), x.stride(3), types * R,
        R=R, M=N // types, HAS_BASE=base is not None, HAS_SCALE=scale is not None,
        HAS_INPUT_SCALE=input_scale is not None, HAS_SHIFT=shift is not None, RELU=relu, PRECISION=precision(),
        PIXELS=pixels, CHANNELS=channels, OUTPUTS=outputs, num_warps=warps, num_stages=2,
    )  # fmt: skip
    return out


@triton_op("sth::products", mutates_args={})
def products(
    x: Tensor, dy: Tensor, base: Tensor | None, types: int, R: int, frames: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """x dy summed over the frames and pixels of each clip, for each entry of the packed weight: (B, 3, R, N); and
    base dy summed likewise: (B, N), zeros without a base. Both in float32."""
    BT, N, H, W = dy.shape
    B, M, pixels, outputs = BT // frames, N // types, 64, tile(N, 64)
    read = channels_read(outputs, R, M)
    channels = tile(read, 64)
    chunks, tiles = triton.cdiv(read, channels), triton.cdiv(H * W, pixels)
    blocks = triton.cdiv(N, outputs) * chunks
    splits = max(1, min(tiles, PROGRAMS // (blocks * B * dilation)))
    parts = B * dilation * splits
    found = torch.empty((parts, 3, R, N), dtype=torch.float32, device=x.device)
    dots = (torch.zeros if base is None else torch.empty)((parts, N), dtype=torch.float32, device=x.device)
    launcher(products_kernel)[(splits, blocks, B * dilation)](
        x, dy, dy if base is None else base, found, dots,
        frames, H * W, W, N, dilation, x.stride(0), x.stride(2), x.stride(3), types * R, tiles,
        R=R, M=M, HAS_BASE=base is not None, PRECISION=precision(), SPLITS=splits, CHUNKS=chunks,
        PIXELS=pixels, CHANNELS=channels, OUTPUTS=outputs, num_warps=4 if x.element_size() == 2 else 8, num_stages=2,
    )  # fmt: skip
    return found.unflatten(0, (B, -1)).sum(1), dots.unflatten(0, (B, -1)).sum(1)


@triton_op("sth::window_sums", mutates_args={})
def window_sums(x: Tensor, stride: int, dilation: int) -> Tensor:
    """(B*T, C, H, W) -> (B*T, 9, C) in float32: the sum of the pixels that each tap of a 3 x 3 convolution reads."""
    x = x.contiguous(memory_format=torch.channels_last)
    BT, C, H, W = x.shape
    sums = torch.empty((BT, 9, C), dtype=torch.float32, device=x.device)
    channels = tile(C, 64)
    launcher(window_sums_kernel)[(BT, triton.cdiv(C, channels))](
        x, sums, C, H, W, -(-H // stride), -(-W // stride), stride, dilation,
        PRECISION=precision(), PIXELS=128, CHANNELS=channels, num_warps=4, num_stages=4,
    )  # fmt: skip
    return sums


def save_for_backward(ctx, inputs, output):
    x, weight, base, base_scale, scale, _, _, ctx.types, ctx.frames, ctx.dilation, _ = inputs
    ctx.save_for_backward(x, weight, base, base_scale, scale)


def combine_backward(ctx, dy):
    """The gradients of x, weight, base, base_scale and scale."""
    x, weight, base, base_scale, scale = ctx.saved_tensors
    types, frames, dilation = ctx.types, ctx.frames, ctx.dilation
    dy = dy.contiguous(memory_format=torch.channels_last)
    scaled = base if scale is not None else None
    found, dots = products(x, dy, scaled, types, weight.shape[1], frames, dilation)
    dx = combine(dy, transposed(weight, types), None, None, None, scale, None, types, frames, dilation, False)
    if scale is None:
        return dx, found.sum(0).to(weight.dtype), dy if base is not None else None, *[None] * 8
    dweight, dscale = (found * scale[:, None, None]).sum(0).to(weight.dtype), (found * weight).sum((1, 2))
    if base is None:
        return dx, dweight, None, None, dscale, *[None] * 6
    per_frame = base_scale.to(dy.dtype).repeat_interleave(frames, 0)[..., None, None]
    return dx, dweight, dy * per_frame, dots, dscale, *[None] * 6


combine.register_autograd(combine_backward, setup_context=save_for_backward)


def packed(weight: Float[Tensor, "N R 3"]) -> Float[Tensor, "3 R N"]:
    """W^(T) in the layout of the kernels."""
    return weight.permute(2, 1, 0).contiguous()


def transposed(weight: Float[Tensor, "3 R N"], types: int) -> Float[Tensor, "3 M C"]:
    """The packed weight of the convolution that takes dy to dx."""
    blocks = weight.unflatten(2, (types, -1)).flip(0)  # 3 R types M
    return blocks.permute(0, 3, 2, 1).flatten(2).contiguous()
