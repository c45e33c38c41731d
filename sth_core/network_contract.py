"""What recording, evaluation and explanation need of a video network: the base class of all networks.

`VideoNetwork` (the STH family) and `AdaptedNetwork` (any other module) are such. A subclass gives `forward`, which
hands what it computes to the tap; what it does not have, it does not hand over.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sth_core.convolution import UNOBSERVED, Tap
from sth_core.precision import at_least_fp32


@dataclass(frozen=True)
class Layer:
    """A layer that has attention; `index` is its place in the network's order."""

    index: int
    name: str
    stage: str


class Recorder(Tap):
    """Keeps what a recording is of: values of each layer, in the order of the layers, and the features before the
    classifier (B, F), None of a network whose classifier is not known."""

    def __init__(self) -> None:
        self.recorded: dict[str, Tensor] = {}
        self.features_before: Tensor | None = None

    def embedding(self, x: Tensor) -> None:
        self.features_before = x


class AttentionRecorder(Recorder):
    """Keeps each layer's alpha (B, 2, C_out)."""

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        self.recorded[layer] = alpha
        return alpha


class Network(nn.Module):
    """A classifier of clips.

    Attributes:
        num_classes: K.
        frames: T, of a clip.
        modality: "rgb" or "flow".
        hidden_weights: why the attention weights of a known transformer cannot be had, in a sentence; else empty.
    """

    num_classes: int
    frames: int
    modality: str
    hidden_weights: str = ""

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        raise NotImplementedError

    def forward_with_attention(
        self, clips: Float[Tensor, "B T C H W"]
    ) -> tuple[Float[Tensor, "B K"], dict[str, Float[Tensor, "B 2 _"]]]:
        """As `forward`, and {layer name: alpha (B, 2, C_out)}: [:, 0] alpha_S, [:, 1] alpha_T, in at least fp32."""
        tap = AttentionRecorder()
        return self(clips, tap), {name: at_least_fp32(alpha) for name, alpha in tap.recorded.items()}

    def recorder(self, *, shares: bool = False) -> Recorder:
        """The tap of a recording: of alpha, or with `shares` of the attention across time of a transformer."""
        return AttentionRecorder()

    @property
    def attention_layers(self) -> list[Layer]:
        """The layers that have alpha_S and alpha_T, in forward order; empty without attention."""
        return []

    @property
    def token_layers(self) -> list[Layer]:
        """The layers of a transformer whose attention weights can be had, and cross time; none of other networks."""
        return []

    @property
    def uniform_share(self) -> float:
        """Of a transformer with `token_layers`, the share across time that uniform attention has."""
        return 0.0

    def forward_with_shares(
        self, clips: Float[Tensor, "B T C H W"]
    ) -> tuple[Float[Tensor, "B K"], dict[str, Float[Tensor, "B 2 heads"]]]:
        """As `forward`, and {layer name: `token_attention.time_shares`} of the `token_layers`."""
        return self(clips), {}

    def described(self) -> dict[str, Any]:
        """What run.json says of it: arch, width, frames, conv, temporal_fraction, attention, modality."""
        raise NotImplementedError

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Its parameters by stage, from the input to the classifier."""
        raise NotImplementedError

    def overlay_shift(self, layer: str, stride: int) -> float:
        """How many pixels of the input right of and below the centre of what a cell sees an overlay draws the cell.

        An overlay spreads a map evenly over the picture: cell i of a layer with stride s is drawn around pixel
        s i + (s - 1) / 2. Where every layer with a stride has an odd size and pads both sides, the cell sees pixels
        around s i (and at a border only those inside the picture). As in other packages the shift is not corrected, so
        that maps can be compared.
        """
        return (stride - 1) / 2
