"""The shapes in the annotations of public functions, checked by jaxtyping: right ones pass, wrong ones are refused."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped
from torch import Tensor

from analysis.explain.alpha_replacement import SetAlpha, pick_column, replacement_rows
from analysis.explain.faithfulness import REMOVAL_TESTS, baseline_clip, kept_masks, occlusion_drop, removal_curve
from analysis.explain.gradcam import gradcam, mass_shares, signed_maps, weighted_maps
from analysis.explain.overlay import draw_heatmap, overlay, scale_maps
from sth_core import STHConv, Tap, VideoNetwork, create_model, for_inference
from sth_core.baselines import InflatedConv, SeparableConv, SpatialConv, TemporalShift
from sth_core.convolution import temporal_conv
from sth_core.inference import FusedHybridConv, scale_and_shift
from sth_core.sth_conv import AttentiveIntegration, DepthwiseSTHConv, HybridConv, clip_means, per_frame
from sth_core.video import transforms
from sth_core.video.transforms import Preprocessing, crop, crops, mirror, negative, normalise, play_backward, resize

NET = create_model("resnet18", 3, frames=2, width=8).eval()
STH = STHConv(8, 4, attention=True, frames=2)
X = torch.zeros(4, 8, 5, 6)  # B*T = 2 * 2 frames
CLIPS = torch.zeros(2, 2, 3, 32, 32)
ALPHA = torch.zeros(2, 2, 8)
FRAMES = np.zeros((2, 8, 9, 3), np.uint8)
RANDOM = np.random.default_rng(0)
MAPS = np.ones((2, 4, 4))
LOGITS = torch.zeros(2, 2)
TWO_CLIPS = pd.DataFrame({"clip_id": ["a", "b"], "label": ["x", "y"]})

# function, right arguments, and one argument of a wrong shape or type (position, value)
CASES: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object], tuple[int, object]]] = [
    (Tap.attention, (Tap(), "layer", ALPHA), {}, (2, ALPHA[:, :1])),
    (Tap.branches, (Tap(), "layer", X, X), {}, (3, X[:, :4])),
    (Tap.features, (Tap(), "layer", X), {}, (2, X[0])),
    (temporal_conv, (X, torch.zeros(4, 8, 3)), {"frames": 2}, (1, torch.zeros(4, 8, 3, 1))),
    (clip_means, (X, 2), {}, (0, X.flatten(2))),
    (per_frame, (ALPHA, 2), {}, (0, ALPHA[:, 0])),
    (HybridConv.forward, (STH, X), {}, (1, X[None])),
    (HybridConv.forward, (DepthwiseSTHConv(8, 8, frames=2), X), {}, (1, X.long())),
    (AttentiveIntegration.forward, (STH.integration, ALPHA[:, 0, :4], ALPHA[:, 1, :4]), {}, (2, ALPHA[:1, 1, :4])),
    (SpatialConv.forward, (SpatialConv(8, 4, stride=2), X), {}, (1, X[0])),
    (SeparableConv.forward, (SeparableConv(8, 4, parallel=True, frames=2), X), {}, (1, X[None])),
    (InflatedConv.forward, (InflatedConv(8, 4, frames=2), X), {}, (1, X[None])),
    (TemporalShift.forward, (TemporalShift(2), X), {}, (1, X.flatten(2))),
    (VideoNetwork.forward, (NET, CLIPS), {}, (1, CLIPS[0])),
    (VideoNetwork.forward_with_attention, (NET, CLIPS), {}, (1, CLIPS.long())),
    (FusedHybridConv.forward, (for_inference(NET).backbone.layer1[0].conv1, X), {}, (1, X[None])),
    (scale_and_shift, (torch.nn.BatchNorm2d(4),), {}, (0, X)),
    (resize, (FRAMES, (4, 4)), {}, (0, FRAMES[0])),
    (resize, (FRAMES, 6), {}, (0, FRAMES.astype(np.float32))),
    (crop, (FRAMES[0], 5), {}, (0, FRAMES[0, 0])),
    (transforms.scaled_crop, (FRAMES, 5, (1.0, 0.9), RANDOM), {}, (0, FRAMES[None])),
    (crops, (FRAMES, 5, 10, "rgb"), {}, (0, FRAMES[0])),
    (mirror, (FRAMES, "rgb"), {}, (0, FRAMES[0])),
    (play_backward, (FRAMES, "rgb"), {}, (0, FRAMES[0])),
    (negative, (FRAMES,), {}, (0, FRAMES.astype(np.int16))),
    (normalise, (torch.from_numpy(FRAMES), Preprocessing()), {}, (0, torch.zeros(2, 8, 9, 3))),
    (signed_maps, (NET, CLIPS, torch.tensor([0, 1]), ("layer1.0",)), {}, (1, CLIPS[0])),
    (gradcam, (NET, CLIPS[0], 1, "layer1.0.conv1"), {}, (1, CLIPS)),
    (mass_shares, (MAPS,), {}, (0, MAPS[0, 0])),
    (weighted_maps, (ALPHA, X), {}, (1, X[1:])),
    (baseline_clip, (CLIPS[0], "blur"), {}, (0, CLIPS)),
    (kept_masks, (torch.from_numpy(MAPS), "time", (8, 9)), {}, (0, ALPHA[0])),
    (removal_curve, (NET, CLIPS[0], 1, torch.from_numpy(MAPS), REMOVAL_TESTS[0]), {}, (3, torch.from_numpy(MAPS[1:]))),
    (occlusion_drop, (NET, CLIPS[0], 1), {}, (1, CLIPS)),
    (SetAlpha.attention, (SetAlpha({"layer": ALPHA[0]}), "layer", ALPHA), {}, (2, ALPHA[0])),
    (replacement_rows, (TWO_CLIPS, ["x", "y"], LOGITS, LOGITS), {"place": "layer"}, (3, LOGITS[:1])),
    (pick_column, (LOGITS, torch.tensor([0, -1])), {}, (1, torch.tensor([0]))),
    (scale_maps, (MAPS, "frame"), {}, (0, MAPS[0])),
    (overlay, (FRAMES, MAPS), {}, (1, MAPS[:1])),
    (draw_heatmap, (FRAMES[0], MAPS[0], 0.5), {}, (0, FRAMES)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "right", "options", "wrong"), CASES, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_right_shapes_pass_and_wrong_ones_are_refused(
    function: Callable[..., object],
    right: tuple[object, ...],
    options: dict[str, object],
    wrong: tuple[int, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transforms, "Tensor", Tensor, raising=False)  # imported there for type checkers alone
    checked = jaxtyped(typechecker=beartype)(function)
    with torch.no_grad():
        checked(*right, **options)
        position, value = wrong
        with pytest.raises(TypeCheckError):
            checked(*right[:position], value, *right[position + 1 :], **options)


def test_a_result_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks see results too: a consensus that forgets the mean over the frames."""
    monkeypatch.setattr(
        VideoNetwork, "forward", lambda self, clips, tap: self.fc(self.backbone(clips.flatten(0, 1), tap))
    )
    checked = jaxtyped(typechecker=beartype)(VideoNetwork.forward_with_attention)
    with torch.no_grad(), pytest.raises(TypeCheckError):
        checked(NET, CLIPS)
