"""STH: spatio-temporal hybrid convolution for action recognition (Li et al. 2020)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sth_core.adapted import adapt
    from sth_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from sth_core.convolution import Tap
    from sth_core.inference import for_inference
    from sth_core.network import VideoNetwork, create_model
    from sth_core.open_network import open_network
    from sth_core.sth_conv import STHConv

WHERE = {
    "adapted": ("adapt",),
    "checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "convolution": ("Tap",),
    "inference": ("for_inference",),
    "network": ("VideoNetwork", "create_model"),
    "open_network": ("open_network",),
    "sth_conv": ("STHConv",),
}


def __getattr__(name: str) -> object:
    """Import a name when it is first used: reading videos or runs must not wait seconds for torch."""
    for module, names in WHERE.items():
        if name in names:
            return getattr(import_module(f"sth_core.{module}"), name)
    raise AttributeError(f"module 'sth_core' has no attribute {name!r}")
