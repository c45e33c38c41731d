"""Networks that torch.compile makes one program of, and what is done where it cannot.

`sth_core.forms` says when that pays. Nothing is compiled before its first call, and a call that fails is repeated by
the network as it is: if that succeeds, the compiler was at fault, which is said, and nothing is compiled any more.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sth_core.convolution import UNOBSERVED, Tap
from sth_core.forms import compiling_reading
from sth_core.inference import form_of
from sth_core.network import VideoNetwork
from sth_core.network_contract import Network
from sth_core.out_of_memory import is_out_of_memory
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
        cause = getattr(error, "inner_exception", error)  # what a part of the compiler raised
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        reason = f"{type(cause).__name__}: {(lines or ['no reason is given'])[0]}"[:LONGEST_REASON]
    return plain(), reason


class CompiledNetwork(Network):
    """A network `for_inference`, compiled for batches of `size` clips, to which smaller ones are filled up.

    Batches of less than half of that, clips of another size than the first, and calls with a tap go to the network as
    it is: each kind of them would be compiled anew.
    """

    def __init__(self, network: VideoNetwork, size: int, notify: Callable[[str], None] = no_report) -> None:
        super().__init__()
        self.network, self.size, self.notify = network, size, notify
        self.num_classes, self.frames, self.modality = network.num_classes, network.frames, network.modality
        self.program = torch.compile(network.forward_with_attention, backend=BACKEND, dynamic=False)
        self.shape = torch.Size()  # (T, C, H, W), of the first batch
        self.failed = ""  # why it is compiled no more

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        return self.forward_with_attention(clips)[0] if tap is UNOBSERVED else self.network(clips, tap)

    def forward_with_attention(
        self, clips: Float[Tensor, "B T C H W"]
    ) -> tuple[Float[Tensor, "B K"], dict[str, Float[Tensor, "B 2 _"]]]:
        self.shape = self.shape or clips.shape[1:]
        if self.failed or clips.shape[1:] != self.shape or not self.size / 2 <= len(clips) <= self.size:
            return self.network.forward_with_attention(clips)
        ways = (lambda: self.filled_up(clips), lambda: self.network.forward_with_attention(clips))
        outputs, self.failed = compiled_or_not(*ways)
        if self.failed:
            self.notify(f"torch.compile fails here ({self.failed}); the network runs as it is, which is slower")
        return outputs

    def filled_up(self, clips: Float[Tensor, "B T C H W"]) -> tuple[Tensor, dict[str, Tensor]]:
        """The outputs of the compiled network, without those of the clips that fill the batch up."""
        B, missing = len(clips), self.size - len(clips)
        whole = torch.cat([clips, clips[-1:].expand(missing, -1, -1, -1, -1)]) if missing else clips
        logits, attention = self.program(whole)
        return logits[:B], {name: alpha[:B] for name, alpha in attention.items()}

    @property
    def form(self) -> str:
        """In words."""
        how = f"not compiled: torch.compile fails ({self.failed})" if self.failed else "compiled by torch.compile"
        return f"{form_of(self.network)}; {how}"


def compiled_for_reading(network: Network, views: int, size: int, notify: Callable[[str], None] = no_report) -> Network:
    """The network, compiled if it pays for so many views in batches of `size`; only one of the STH family is."""
    device = next(network.parameters()).device
    if not isinstance(network, VideoNetwork) or not compiling_reading(device, views, size).wanted:
        return network
    notify("the network is compiled first (torch.compile), which takes some 20 s")
    return CompiledNetwork(network, size, notify)


def form_in_words(network: Network) -> str:
    """How a network for inference is computed."""
    return network.form if isinstance(network, CompiledNetwork) else form_of(network)
