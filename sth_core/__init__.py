"""STH: spatio-temporal hybrid convolution for action recognition (Li et al. 2020)."""

from sth_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sth_core.inference import for_inference
from sth_core.network import VideoNetwork, create_model
from sth_core.sth_conv import STHConv, Tap

__all__ = [
    "Checkpoint",
    "STHConv",
    "Tap",
    "VideoNetwork",
    "create_model",
    "for_inference",
    "load_checkpoint",
    "save_checkpoint",
]
