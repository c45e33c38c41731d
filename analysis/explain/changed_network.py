"""A network whose α is replaced, as a network: what explains networks explains it too."""

from jaxtyping import Float
from torch import Tensor

from sth_core.convolution import UNOBSERVED, AlphaReplacement, Tap
from sth_core.network_contract import Layer, Network


class BothTaps(Tap):
    """What `replacement` makes of α, seen by `tap`."""

    def __init__(self, replacement: AlphaReplacement, tap: Tap) -> None:
        self.replacement, self.tap = replacement, tap

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        return self.tap.attention(layer, self.replacement.attention(layer, alpha))

    def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        return self.tap.branches(layer, spatial, temporal)

    def features(self, layer: str, x: Tensor) -> Tensor:
        return self.tap.features(layer, x)

    def weights(self, layer: str, kind: str, weights: Tensor) -> None:
        self.tap.weights(layer, kind, weights)

    def embedding(self, x: Tensor) -> None:
        self.tap.embedding(x)


class ChangedNetwork(Network):
    """`network` (for training, in evaluation mode) with α replaced; it shares all weights, and changes nothing."""

    def __init__(self, network: Network, replacement: AlphaReplacement) -> None:
        super().__init__()
        self.network, self.replacement, self.training = network, replacement, network.training
        self.num_classes, self.frames, self.modality = network.num_classes, network.frames, network.modality

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        logits: Tensor = self.network(clips, BothTaps(self.replacement, tap))
        return logits

    @property
    def attention_layers(self) -> list[Layer]:
        return self.network.attention_layers
