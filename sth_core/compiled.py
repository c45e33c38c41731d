"""Networks that torch.compile makes one program of, and what is done where it cannot.

`sth_core.forms` says when that pays. Nothing is compiled before its first call, and a call that fails is repeated by
the network as it is: if that succeeds, the compiler was at fault, which is said, and nothing is compiled any more.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sth_core.convolution import UNOBSERVED, AlphaReplacement, Tap
from sth_core.forms import Compiling, compiling_reading
from sth_core.inference import form_of
from sth_core.network import VideoNetwork
from sth_core.network_contract import AttentionRecorder, Layer, Network
from sth_core.out_of_memory import is_out_of_memory
from sth_core.precision import at_least_fp32
from sth_core.resumable import no_report

Result = TypeVar("Result")
BACKEND = "inductor"  # of torch.compile
LONGEST_REASON = 200  # characters of an error of the compiler, which may have pages


def compiled_or_not(compiled: Callable[[], Result], plain: Callable[[], Result]) -> tuple[Result, str]:
    """What `compiled` returns and "", or what `plain` returns and why `compiled` fails.

    An error of both is raised by `plain`: then the compiler is not at fault. Raises what `compiled` raises where memory
    is full, of which `plain` needs more."""
    try:
        return compiled(), ""
    except Exception as error:  # a compiler, a driver and a GPU that nobody has tried raise errors of any type
        if is_out_of_memory(error):
            raise
        reason = reason_of(error)
    return plain(), reason


def reason_of(error: Exception) -> str:
    """The first line of an error of the compiler."""
    cause = getattr(error, "inner_exception", error)  # what a part of the compiler raised
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {(lines or ['no reason is given'])[0]}"[:LONGEST_REASON]


class CompiledNetwork(Network):
    """A network `for_inference`, compiled for batches of `size` clips, to which smaller ones are filled up.

    One program computes it with alpha as it is and with every `AlphaReplacement`. Batches of less than half of the
    size, clips of another size than the first, and calls with other taps go to the network as it is: each kind of them
    would be compiled anew.
    """

    def __init__(self, network: VideoNetwork, size: int, notify: Callable[[str], None] = no_report) -> None:
        super().__init__()
        self.network, self.size, self.notify = network, size, notify
        self.num_classes, self.frames, self.modality = network.num_classes, network.frames, network.modality
        names = {layer.name for layer in network.attention_layers}
        convs: list[Any] = [m for m in network.modules() if getattr(m, "name", None) in names]
        self.channels: dict[str, int] = {conv.name: conv.out_channels for conv in convs}
        self.program = torch.compile(self.with_terms, backend=BACKEND, dynamic=False)
        self.shape = torch.Size()  # (T, C, H, W), of the first batch
        self.unchanged: dict[str, Tensor] = {}  # `terms_of` no replacement
        self.failed = ""  # why it is compiled no more

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        if tap is UNOBSERVED or isinstance(tap, AlphaReplacement):
            return self.outputs(clips, tap)[0]
        return self.network(clips, tap)

    def forward_with_attention(
        self, clips: Float[Tensor, "B T C H W"]
    ) -> tuple[Float[Tensor, "B K"], dict[str, Float[Tensor, "B 2 _"]]]:
        return self.outputs(clips, UNOBSERVED)

    def outputs(self, clips: Tensor, tap: Tap) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits; and alpha of each layer, which is known only without a replacement."""

        def plain() -> tuple[Tensor, dict[str, Tensor]]:
            if tap is UNOBSERVED:
                return self.network.forward_with_attention(clips)
            return self.network(clips, tap), {}

        self.shape = self.shape or clips.shape[1:]
        if self.failed or clips.shape[1:] != self.shape or not self.size / 2 <= len(clips) <= self.size:
            return plain()
        found, self.failed = compiled_or_not(lambda: self.filled_up(clips, tap), plain)
        if self.failed:
            self.notify(f"torch.compile fails here ({self.failed}); the network runs as it is, which is slower")
        return found

    def filled_up(self, clips: Tensor, tap: Tap) -> tuple[Tensor, dict[str, Tensor]]:
        """The outputs of the compiled network, without those of the clips that fill the batch up."""
        self.unchanged = self.unchanged or {name: self.terms_of(UNOBSERVED, name, clips) for name in self.channels}
        changed = [name for name in self.channels if isinstance(tap, AlphaReplacement) and tap.terms(name)]
        terms = self.unchanged | {name: self.terms_of(tap, name, clips) for name in changed}
        logits, attention = self.program(filled(clips, self.size), terms)
        return logits[: len(clips)], {name: alpha[: len(clips)] for name, alpha in attention.items()}

    def terms_of(self, tap: Tap, layer: str, clips: Tensor) -> Float[Tensor, "B 2 2 _"]:
        """Factor and value of a layer's alpha, which are 1 and 0 where it stays."""
        found = tap.terms(layer) if isinstance(tap, AlphaReplacement) else None
        shape = (len(clips), 2, self.channels[layer])
        parts = found or (torch.ones(()), torch.zeros(()))
        expanded = [part.to(clips.device, torch.float32).expand(shape) for part in parts]
        return filled(torch.stack(expanded, 1), self.size)

    def with_terms(self, clips: Tensor, terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the program computes."""
        tap = RecordedReplacement(terms)
        return self.network(clips, tap), {name: at_least_fp32(alpha) for name, alpha in tap.recorded.items()}

    @property
    def attention_layers(self) -> list[Layer]:
        return self.network.attention_layers

    @torch.no_grad()
    def take_weights(self, network: VideoNetwork) -> None:
        """Those of the same network `for_inference` after more training; the program stays."""
        pairs = zip(weights_of(self.network), weights_of(network), strict=True)
        for ours, new in pairs:
            ours.copy_(new)

    @property
    def form(self) -> str:
        """In words."""
        how = f"not compiled: torch.compile fails ({self.failed})" if self.failed else "compiled by torch.compile"
        return f"{form_of(self.network)}; {how}"


class RecordedReplacement(AttentionRecorder):
    """Replaces alpha by factor * alpha + value of `terms`, and keeps it."""

    def __init__(self, terms: Mapping[str, Float[Tensor, "B 2 2 _"]]) -> None:
        super().__init__()
        self.given = terms

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        factor, value = self.given[layer].unbind(1)
        return super().attention(layer, factor.to(alpha.dtype) * alpha + value.to(alpha.dtype))


def filled(x: Float[Tensor, "B *_"], size: int) -> Float[Tensor, "size *_"]:
    """The last of a batch repeated, to this size."""
    missing = size - len(x)
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x


def weights_of(network: VideoNetwork) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def choose_compiling(network: Network, views: int, size: int, *, deterministic: bool = False) -> Compiling:
    """Whether it pays to compile the network for so many views in batches of `size`, and why."""
    if not isinstance(network, VideoNetwork):
        return Compiling(False, "it is a network of another library")
    return compiling_reading(next(network.parameters()).device, views, size, deterministic=deterministic)


def compiled_for_reading(
    network: Network, views: int, size: int, notify: Callable[[str], None] = no_report, *, deterministic: bool = False
) -> tuple[Network, Compiling]:
    """The network, compiled if it pays for so many views in batches of `size`, and whether and why; only one of the STH
    family is."""
    compiling = choose_compiling(network, views, size, deterministic=deterministic)
    if not compiling.wanted or not isinstance(network, VideoNetwork):
        return network, compiling
    notify("the network is compiled first (torch.compile), which takes some 20 s")
    return CompiledNetwork(network, size, notify), compiling


def form_facts(network: Network, compiling: Compiling) -> dict[str, str]:
    """What a work's file says of how a network for inference was computed: its `form`, and whether it was `compiled`
    and why."""
    if isinstance(network, CompiledNetwork) and network.failed:
        compiling = Compiling(False, f"torch.compile fails ({network.failed})")
    return {"form": form_in_words(network), "compiled": str(compiling)}


def form_in_words(network: Network) -> str:
    """How a network for inference is computed."""
    return network.form if isinstance(network, CompiledNetwork) else form_of(network)
