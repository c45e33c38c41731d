"""Any video network: `adapt` makes of a module what every command and page of this project takes.

    network = adapt(module, classes=names, preprocessing=Preprocessing(frames=16, resize=128, crop=112))

The module stays as it is, but for its mode (evaluation) and its device. Its layers are observed by hooks that stand
only while a tap observes, in the thread of that call alone.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sth_core.checkpoint import Checkpoint
from sth_core.convolution import UNOBSERVED, Tap
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError, did_you_mean
from sth_core.grids import Grid, guess_grid
from sth_core.network_contract import Layer, Network, Recorder
from sth_core.precision import at_least_fp32
from sth_core.token_attention import FRAME, TIME, AttentionModule, ShareRecorder, TokenAttention, uniform_share
from sth_core.video.modality import CHANNELS
from sth_core.video.transforms import Preprocessing

CLASSIFIERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
Tried = TypeVar("Tried")
Grids = Mapping[str, Grid]
Hook = Callable[[nn.Module, Any, Any], Any]
Call = Callable[[nn.Module, Float[Tensor, "B T C H W"]], Any]
MOST_STAGES = 6  # of the blocks; a transformer of 24 blocks is not copied 24 times


def channels_first(module: nn.Module, clips: Tensor) -> Any:
    """Call a module that takes (B, C, T, H, W), as most do."""
    return module(clips.transpose(1, 2))


def frames_first(module: nn.Module, clips: Tensor) -> Any:
    """Call a module that takes (B, T, C, H, W)."""
    return module(clips)


class AdaptedNetwork(Network):
    """A module as a `Network`; `grids` are the layers that can be explained, in forward order, `attention` is where a
    transformer computes attention, and `classifier` is the layer whose input `Tap.embedding` gets, "" if not known."""

    def __init__(
        self, module: nn.Module, *, arch: str, num_classes: int, frames: int, modality: str, grids: Grids,
        call: Call = channels_first, attention: TokenAttention | None = None, classifier: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self.module, self.arch, self.call = module, arch, call
        self.num_classes, self.frames, self.modality = num_classes, frames, modality
        self.grids, self.attention, self.classifier = dict(grids), attention, classifier
        self.hidden_weights = attention.hidden if attention else ""

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        """Logits of the K classes. Raises ValueError: clips of another shape; UserError: an output that is not (B, K),
        or a layer that did not run."""
        T, C = self.frames, CHANNELS[self.modality]
        if clips.ndim != 5 or clips.shape[1:3] != (T, C):
            raise ValueError(f"this network takes clips (B, {T}, {C}, H, W), got {tuple(clips.shape)}")
        seen: set[str] = set()
        hooks = self.hooks_of(tap, len(clips), seen)
        with ExitStack() as standing:
            for name, hook in hooks:
                standing.callback(self.module.get_submodule(name).register_forward_hook(hook).remove)
            if self.classifier and type(tap).embedding is not Tap.embedding:
                before = embedding(tap, len(clips))
                standing.callback(self.module.get_submodule(self.classifier).register_forward_pre_hook(before).remove)
            logits = logits_of(self.call(self.module, clips), len(clips), self.num_classes)
        if missing := [name for name, _ in hooks if name not in seen]:
            where = "layers" if missing[0] in self.grids else "attention"
            raise UserError(f"the layer {missing[0]} of {self.arch} does not run; leave it out of `{where}`")
        return logits

    def hooks_of(self, tap: Tap, clips: int, seen: set[str]) -> list[tuple[str, Hook]]:
        """The hooks by which `tap` sees what it overrides, each with the name of its module, which it adds to `seen`
        when it runs."""
        hooks: list[tuple[str, Hook]] = []
        if type(tap).features is not Tap.features:
            hooks += [(name, observing(name, grid, tap, seen)) for name, grid in self.grids.items()]
        if type(tap).weights is not Tap.weights and self.attention and not self.attention.hidden:
            hooks += [(one.module, watching(one, self.attention, tap, clips, seen)) for one in self.attention.modules]
        return hooks

    @property
    def token_layers(self) -> list[Layer]:
        return self.attention.layers if self.attention else []

    @property
    def uniform_share(self) -> float:
        return uniform_share(self.attention.tokens.steps) if self.attention else 0.0

    def forward_with_shares(
        self, clips: Float[Tensor, "B T C H W"]
    ) -> tuple[Float[Tensor, "B K"], dict[str, Float[Tensor, "B 2 heads"]]]:
        if not self.attention:
            return self(clips), {}
        tap = self.recorder(shares=True)
        return self(clips, tap), tap.recorded

    def recorder(self, *, shares: bool = False) -> Recorder:
        return ShareRecorder(self.attention.tokens) if shares and self.attention else super().recorder()

    def described(self) -> dict[str, Any]:
        return {
            "arch": self.arch, "width": 0, "frames": self.frames, "conv": "other", "temporal_fraction": 0.0,
            "attention": False, "modality": self.modality,
        }  # fmt: skip

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """In the order of registration: "input", groups of blocks by the first of each, and "output"."""
        blocks, group = list(self.grids), -(-len(self.grids) // MOST_STAGES)
        found: dict[str, list[nn.Parameter]] = {"input": [], **{name: [] for name in blocks[::group]}, "output": []}
        at = -1
        for name, weight in self.module.named_parameters():
            inside = next((i for i, block in enumerate(blocks) if f"{name}.".startswith(f"{block}.")), None)
            at = at if inside is None else max(at, inside)
            if inside is not None:
                stage = blocks[inside // group * group]
            else:
                stage = "input" if at < 0 else "output" if at == len(blocks) - 1 else blocks[at // group * group]
            found[stage].append(weight)
        return {stage: weights for stage, weights in found.items() if weights}

    def overlay_shift(self, layer: str, stride: int) -> float:
        return 0.0 if self.grids[layer].aligned else super().overlay_shift(layer, stride)


def watching(one: AttentionModule, attention: TokenAttention, tap: Tap, clips: int, seen: set[str]) -> Hook:
    """A forward hook by which `tap` sees the attention weights of a module in this thread. The hook raises UserError:
    they are hidden, or of another shape than `attention` says."""
    thread, tokens = threading.get_ident(), attention.tokens
    places = tokens.height * tokens.width
    keys = {TIME: tokens.steps, FRAME: tokens.extra + places}.get(one.kind, tokens.extra + tokens.steps * places)
    groups = {TIME: places, FRAME: tokens.steps}.get(one.kind, 1)

    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        seen.add(one.module)
        weights = output[1] if isinstance(output, tuple | list) and len(output) > 1 else output
        if not isinstance(weights, Tensor):
            raise HiddenWeights(hidden_by(one.module, "another one"))
        if weights.ndim != 4 or len(weights) != clips * groups or weights.shape[-1] != keys:
            raise UserError(
                f"{one.module} gives {tuple(weights.shape)}, not weights ({clips * groups}, heads, queries, {keys}) of "
                f"{one.kind} attention, as `attention` says"
            )
        tap.weights(one.layer, one.kind, weights)

    return hook


class HiddenWeights(UserError):
    """A module of attention does not give its weights."""


def hidden_by(what: str, kernel: str) -> str:
    """Why there are no attention weights, and what to do."""
    return (
        f"the attention weights of {what} are hidden: its kernel ({kernel}) does not give them; load the network with "
        f'attn_implementation="eager"'
    )


def observing(name: str, grid: Grid, tap: Tap, seen: set[str]) -> Hook:
    """A forward hook by which `tap` sees, and may change, the output of a layer in this thread."""
    thread = threading.get_ident()

    def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        seen.add(name)
        x = grid.to_grid(output)
        y = tap.features(name, x.flatten(0, 1))
        return grid.from_grid(y.unflatten(0, x.shape[:2]), output)

    return hook


def embedding(tap: Tap, clips: int) -> Callable[[nn.Module, Any], None]:
    """A forward hook by which `tap` sees the input of the classifier, its mean over all but clips and features."""
    thread = threading.get_ident()

    def hook(module: nn.Module, arguments: Any) -> None:
        if threading.get_ident() == thread:
            x = arguments[0].detach()
            x = x if isinstance(module, nn.Linear) else x.movedim(1, -1)
            tap.embedding(at_least_fp32(x).unflatten(0, (clips, -1)).flatten(1, -2).mean(1))

    return hook


def logits_of(output: Any, clips: int, classes: int) -> Tensor:
    """The logits (B, K) of what a network returns: a tensor, an object with `logits`, or a tuple that begins with them.
    Raises UserError: there are none of this shape."""
    found = getattr(output, "logits", output)
    found = found[0] if isinstance(found, tuple | list) and found else found
    if not isinstance(found, Tensor) or found.shape != (clips, classes):
        given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(output).__name__}"
        raise UserError(
            f"the network returned {given} for {clips} clips; it must return the logits ({clips}, {classes}) of the "
            f"{classes} classes that were named"
        )
    return found


def adapt(
    module: nn.Module, *, classes: Sequence[str], preprocessing: Preprocessing, name: str = "",
    call: Call = channels_first, layers: Grids | None = None, annotation: Annotation = Annotation(),
    training: Mapping[str, Any] | None = None, attention: TokenAttention | None = None,
) -> Checkpoint:  # fmt: skip
    """A network of your own, for every function that takes a checkpoint.

    Args:
        module: takes clips as `call` hands them over and returns logits (B, K); it is put into evaluation mode.
        classes: the names of the K outputs.
        preprocessing: what it was trained on: frames, sampling, resize, crop, mean and std.
        name: of the architecture; by default the module's class.
        call: `channels_first` for (B, C, T, H, W), `frames_first` for (B, T, C, H, W), or a function of your own from
            the module and clips (B, T, C, H, W) to its output.
        layers: the layers that can be explained, each with its `Grid`; by default those whose output has the shape of
            a grid of cells are found with a clip of zeros. Leave a block out after which only a class token is read:
            no gradient reaches its other tokens.
        attention: where a transformer computes attention, if its weights are to be observed.
        annotation: which labels it was trained on, if that is known.
        training: facts of its training, if they are known.

    Raises UserError: no (B, K) logits come out, a layer does not run or has another shape, or none can be explained.
    """
    module.eval()
    p, arch = preprocessing, name or type(module).__name__
    refuse_names(classes)
    if next(module.parameters(), None) is None:
        raise UserError(f"{arch} has no weights, so there is nothing to explain; give the module that has them")
    known = [path for path, _ in module.named_modules() if path]
    watched = [one.module for one in attention.modules] if attention else []
    if unknown := [path for path in [*(layers or ()), *watched] if path not in known]:
        raise UserError(f"{arch} has no module {unknown[0]!r}{did_you_mean(unknown[0], known)}")

    def adapted(some: nn.Module, grids: Grids, classifier: str = "") -> AdaptedNetwork:
        facts: Any = {"arch": arch, "num_classes": len(classes), "frames": p.frames, "modality": p.modality}
        facts |= {"call": call, "attention": attention, "classifier": classifier}
        return AdaptedNetwork(some, **facts, grids=grids).eval()

    def tried(some: nn.Module) -> tuple[Grids, str]:
        grids = layers if layers is not None else found_layers(adapted(some, {}), p.crop)
        return grids, try_layers(adapted(some, grids), p.crop)

    model = adapted(module, *with_shapes_alone(module, tried))
    return Checkpoint(model, list(classes), p, annotation, dict(training or {}))


def refuse_names(classes: Sequence[str]) -> None:
    if isinstance(classes, str) or not classes or not all(isinstance(name, str) and name.strip() for name in classes):
        raise UserError(f"`classes` must be a list of the names of all outputs, got {classes!r:.80}")
    if len(set(classes)) < len(classes):
        raise UserError("two classes have one name; each output needs a name of its own")


def with_shapes_alone(module: nn.Module, run: Callable[[nn.Module], Tried]) -> Tried:
    """What `run` returns for a copy of the module whose tensors have shapes and no values, so that nothing is computed;
    for the module itself where that is not possible. Raises UserError: the module fails."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # torch takes a second to import it

    try:
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        tensors = [*module.parameters(), *module.buffers()]
        copied = deepcopy(module, {id(tensor): mode.from_tensor(tensor) for tensor in tensors})
        with mode, torch.no_grad():
            return run(copied)
    except UserError:
        raise
    except Exception:  # what depends on values, a kernel of the module's own, a module that cannot be copied, ...
        try:
            with torch.inference_mode():
                return run(module)
        except RuntimeError as error:
            raise UserError(f"{type(module).__name__} fails on clips of zeros: {error}") from error


def found_layers(model: AdaptedNetwork, side: int) -> dict[str, Grid]:
    """The blocks of a module whose output is a grid of cells. Raises UserError: there are none, or of several kinds."""
    names = {child: name for name, child in model.module.named_modules() if name}
    grids: dict[str, Grid] = {}
    clips = zeros_for(model, side)

    def hook(child: nn.Module, arguments: Any, output: Any) -> None:
        try:
            grid = guess_grid(output, len(clips), model.frames, side)
        except ValueError as error:
            raise UserError(f"{names[child]}: {error}; say which by `layers`") from error
        if grid is not None:
            grids.setdefault(names[child], grid)

    with ExitStack() as hooks:
        for child in names:
            hooks.callback(child.register_forward_hook(hook).remove)
        model(clips)
    blocks = outermost(model.module, set(grids)) or list(grids)
    if not blocks:
        raise UserError(
            f"no layer of {model.arch} has an output (B, C, T, h, w), (B, T, h, w, C) or (B*T, C, h, w); name the "
            f"layers by `layers`, for example {{'blocks.0': Tokens(8, 14, 14, extra=1)}}"
        )
    return {name: grid for name, grid in grids.items() if name in blocks}  # in forward order


def outermost(module: nn.Module, grids: set[str], prefix: str = "") -> list[str]:
    """The modules with parts of their own whose output is a grid: of nested ones the outermost that is no container."""
    found = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        has_parts = next(child.children(), None) is not None
        if path in grids and has_parts and type(child) not in (nn.Sequential, nn.ModuleList):
            found.append(path)
        elif has_parts:
            inner = outermost(child, grids, f"{path}.")
            found += inner or [path] * (path in grids)
    return found


def zeros_for(model: AdaptedNetwork, side: int) -> Tensor:
    """Two clips of zeros (2, T, C, side, side), where the weights of the module are and of their type."""
    weight = next(model.parameters())
    return torch.zeros(2, model.frames, CHANNELS[model.modality], side, side, device=weight.device, dtype=weight.dtype)


class Observer(Tap):
    """Sees each layer and each module of attention, and changes none."""

    def features(self, layer: str, x: Tensor) -> Tensor:
        return x

    def weights(self, layer: str, kind: str, weights: Tensor) -> None:
        pass


def try_layers(model: AdaptedNetwork, side: int) -> str:
    """The name of the classifier: the linear layer, or convolution, with an output for each class that runs last; "" if
    there is none. Raises UserError: a layer does not run, or its output is not what its grid says."""
    names = {child: name for name, child in model.module.named_modules() if isinstance(child, CLASSIFIERS)}
    ran: list[str] = []
    with ExitStack() as hooks:
        for child, name in names.items():
            if name and len(child.weight) == model.num_classes:
                note = partial(lambda name, module, arguments: ran.append(name), name)
                hooks.callback(child.register_forward_pre_hook(note).remove)
        try:
            model(zeros_for(model, side), Observer())
        except ValueError as error:
            raise UserError(f"a layer of {model.arch} is not as `layers` says: {error}") from error
    return ran[-1] if ran else ""
