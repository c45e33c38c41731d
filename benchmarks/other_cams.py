"""Grad-CAM of the blocks of a network by other packages, which `sth benchmark explaining` compares with."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sth_core.errors import UserError
from sth_core.network import VideoNetwork

HOW_TO_INSTALL = "pip install --no-deps grad-cam ttach"  # its OpenCV would overwrite opencv-contrib, with TV-L1 flow


def check_captum() -> None:
    """Raises UserError: Captum is not installed."""
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise UserError("this benchmark needs Captum, which is not installed; run: pip install captum") from error


def captum_maps(model: VideoNetwork, clips: Tensor, blocks: tuple[str, ...]) -> list[Tensor]:
    """By Captum, one forward and backward pass for each block: (B*T, 1, h, w) each."""
    from captum.attr import LayerGradCam

    modules = modules_of(model, blocks)
    return [LayerGradCam(model, module).attribute(clips, 0, relu_attributions=True) for module in modules]


def has_grad_cam() -> bool:
    """Whether pytorch-grad-cam is there."""
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError:
        return False
    return True


class FramesAsBatch(nn.Module):
    """The network for frames (B*T, C, H, W). pytorch-grad-cam scales its maps to the last axes of the input, and takes
    a clip (B, T, C, H, W) for a volume of depth W."""

    def __init__(self, model: VideoNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model(frames.unflatten(0, (-1, self.model.config.frames)))


def grad_cam_maps(model: VideoNetwork, clips: Tensor, blocks: tuple[str, ...]) -> list[np.ndarray]:
    """By pytorch-grad-cam, all blocks in one pass: signed maps (B*T, h, w) each, before it rectifies, scales, enlarges
    and averages them, which its call does too."""
    from pytorch_grad_cam import GradCAM

    kept: list[np.ndarray] = []

    class KeepsMaps(GradCAM):
        def get_cam_image(self, *arguments: Any, **options: Any) -> np.ndarray:
            kept.append(super().get_cam_image(*arguments, **options))
            return kept[-1]

    explain_class_0(KeepsMaps(FramesAsBatch(model), modules_of(model, blocks)), clips.flatten(0, 1), len(clips))
    model.zero_grad(set_to_none=True)  # it leaves the gradients of all parameters
    return kept


def stock_call_error(model: VideoNetwork, clips: Tensor, blocks: tuple[str, ...]) -> str:
    """Why pytorch-grad-cam, called on clips (B, T, C, H, W) as they are, gives no maps; empty if it does."""
    from pytorch_grad_cam import GradCAM

    try:
        explain_class_0(GradCAM(model, modules_of(model, blocks)), clips, len(clips))
    except Exception as error:  # OpenCV's own
        return f"{type(error).__module__}.{type(error).__name__}"
    finally:
        model.zero_grad(set_to_none=True)
    return ""


def modules_of(model: VideoNetwork, blocks: tuple[str, ...]) -> list[nn.Module]:
    return [model.backbone.get_submodule(name) for name in blocks]


def explain_class_0(cam: Any, inputs: Tensor, clips: int) -> None:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with cam, torch.enable_grad():
        cam(inputs, [ClassifierOutputTarget(0)] * clips)
    cam.outputs = None  # they hold the graph, as it asks for it to be retained: 2 GB of a ResNet-50
