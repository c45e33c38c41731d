"""The explanation of one video, by Grad-CAM or another method: the clips that the network sees of it, the class that is
explained, and their maps."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from analysis.explain.gradcam import DEFINITIONS, JOINT, Cam, mass_shares, sum_by_frame
from analysis.explain.methods import GRADCAM, METHODS, Progress, Question, explain_clip
from analysis.explain.overlay import NORMALISATIONS, overlay, scale_maps, seen_frames
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.evaluation import refuse_not_finite
from sth_core.notebook_html import bars, card, row_of_frames
from sth_core.precision import computing_in, precision_on
from sth_core.resumable import no_report
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import read_clips
from sth_core.video.transforms import Preprocessing, centre_crop, normalise

TOP_CLASSES = 5


@dataclass(frozen=True)
class CamOptions:
    """What is explained and how it is shown; classes and layer by name. `target` None is the predicted class.
    `precision` is that of the passes; explained with its replacement, if the device has another (`precision_on`)."""

    layer: str
    target: str | None = None
    against: str | None = None
    branch: str = JOINT
    definition: str = DEFINITIONS[0]
    scale: str = NORMALISATIONS[0]
    signed: bool = False
    opacity: float = 0.55
    clips: int = 1
    precision: str = "fp32"
    method: str = GRADCAM


@dataclass(frozen=True)
class VideoExplanation:
    """The explanation of one video, of N frames that the network saw."""

    options: CamOptions  # with `target` filled in
    seen: np.ndarray  # (N,) their numbers, in frame order; a short video's are repeated
    maps: np.ndarray  # (N, h, w) in [-1, 1], as they are shown
    mass: np.ndarray  # (N,) each frame's share of the whole CAM
    top: list[tuple[str, float]]  # the best classes and their scores
    alpha: dict[str, float]  # {layer: mean alpha_T}
    source: tuple[Path, Preprocessing] | None = None  # the video, and how the network saw it

    def _repr_html_(self) -> str:
        """The scores, and the map over the frames with each one's share: what Jupyter shows. Without the video, which
        may be gone, the maps alone."""
        frames, maps, shares = self.by_frame()
        pictures, lines = None, []
        if self.source:
            path, p = self.source
            lines.append(path.name)
            try:
                pictures = seen_frames(path, frames, p)
            except (OSError, UnreadableVideo) as error:
                lines.append(f"the maps alone, as the video cannot be read: {error}")
        captions = [f"frame {frame}: {share:.0%}" for frame, share in zip(frames, shares, strict=True)]
        scores = bars([name for name, _ in self.top], [s for _, s in self.top], [f"{s:.1%}" for _, s in self.top])
        drawn = overlay(np.zeros((len(maps), 96, 96, 3), np.uint8) if pictures is None else pictures, maps, 0.75, 1.0)
        return card(", ".join(self.title), lines, scores, row_of_frames(drawn, captions))

    @property
    def empty(self) -> bool:
        return not self.maps.any()

    @property
    def title(self) -> list[str]:
        """The parts of a title, the most important first."""
        o = self.options
        subject = f"{o.target} against {o.against}" if o.against else f"{o.target}"
        if self.empty:
            return [f"no map: no evidence for {subject} at {o.layer}"]
        if o.method == GRADCAM:
            parts = [subject, o.layer, f"{o.branch} map", f"weights {o.definition.replace('_', ' ')}"]
        else:
            at = [o.layer, f"{o.branch} map"] if METHODS[o.method].layered else []
            parts = [subject, METHODS[o.method].title, *at]
        return [*parts, "one scale" if o.scale == "clip" else "a scale for each frame", *["signed"] * o.signed]

    def by_frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The different frames seen (M,), the mean of each one's maps (M, h, w), and its share of the CAM (M,)."""
        frames, count = sum_by_frame(self.seen, np.ones_like(self.mass))
        maps = sum_by_frame(self.seen, self.maps)[1] / count[:, None, None]
        return frames, maps, sum_by_frame(self.seen, self.mass)[1]


def explain_video(
    checkpoint: Checkpoint, path: Path, options: CamOptions, progress: Progress = no_report
) -> VideoExplanation:
    """Explain the class `options.target`, or the class that the mean logits of `options.clips` clips predict.

    Raises:
        UnreadableVideo: the video cannot be read.
        UserError: the predicted class is also `options.against`, or the scores or gradients are not finite.
    """
    p, model = checkpoint.preprocessing, checkpoint.model
    pixels, seen = read_clips(ClipSource(path), p, options.clips)
    device = next(model.parameters()).device
    clips = normalise(torch.from_numpy(np.ascontiguousarray(centre_crop(pixels, p))).to(device), p)
    with torch.inference_mode(), computing_in(options.precision, device):
        outputs = [model.forward_with_attention(clip[None]) for clip in clips]
        logits = torch.stack([of_clip[0] for of_clip, _ in outputs])
        refuse_not_finite(logits, str(path))
        scores = logits.mean(0).softmax(0).cpu().numpy()
        alphas = {name: torch.stack([of_clip[name][0, 1] for _, of_clip in outputs]) for name in outputs[0][1]}
    alpha = {name: float(of_clips.double().mean()) for name, of_clips in alphas.items()}
    top = [(checkpoint.classes[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:TOP_CLASSES]]
    o = replace(options, target=options.target or top[0][0], precision=precision_on(options.precision, device))
    if o.target == o.against:
        raise UserError(f"{path}: the predicted class is {o.target!r}, as is --against; name another with --class")
    target, against = (checkpoint.classes.index(name) if name else None for name in (o.target, o.against))
    assert target is not None
    asked = Question(target, against, o.layer, o.branch, o.definition, o.precision)
    cams: list[Cam] = []
    for clip in clips:
        report = partial(report_of_clip, progress, len(cams), len(clips))
        cams.append(explain_clip(o.method, model, clip, asked, report))
    order = np.argsort(seen, axis=None, kind="stable")
    signed = np.concatenate([cam.signed for cam in cams])[order]
    if not np.isfinite(signed).all():
        raise UserError(f"{path}: the network's gradients at {o.layer} are not finite; its weights are broken")
    positive = signed.clip(min=0)
    maps = scale_maps(signed if o.signed else positive, o.scale)
    return VideoExplanation(o, seen.ravel()[order], maps, mass_shares(positive), top, alpha, (path, p))


def report_of_clip(progress: Progress, number: int, clips: int, done: int, total: int) -> None:
    """Of the passes of one of the clips, as a part of those of all."""
    progress(number * total + done, clips * total)
