"""Does a network need the order of time? Each clip played in ways that keep its frames and spoil its time.

`probe` does it over a dataset, next to a run: RUN/probes/*.parquet (a row per clip, probe and repeat) and probes.json.
An interrupted call goes on with the clips that are missing.
"""

import platform
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiments.probe_tables import (
    DROPPED,
    FAST,
    FROZEN,
    KIND,
    PROBES,
    REVERSED,
    SHUFFLED,
    SLOW,
    SUBSAMPLED,
    results_in,
)
from analysis.runs.parts import computing
from analysis.runs.recording import recorded
from analysis.runs.run_directory import Run
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.clips import EvaluationClips, Sample
from sth_core.evaluation import read_ahead
from sth_core.video.fields import count_fields, fields_of, positions_in, read_fields, stack_fields
from sth_core.video.sampling import segment_indices
from sth_core.video.timeline import UnreadableVideo
from sth_core.video.transforms import Preprocessing, crop, normalise, play_backward

NO_MOTION = 128  # of 8-bit flow
SAME = ("checkpoint_sha256", "data", "split", "shuffles")
CLIPS_PER_PART = 16


def shown(shuffles: int) -> list[tuple[str, int]]:
    """(probe, repeat) of all that is shown of a clip, in order."""
    return [(name, repeat) for name in PROBES for repeat in range(shuffles if name == SHUFFLED else 1)]


def order(probe: str, frames: int, clip_id: str, repeat: int = 0) -> NDArray[np.int64]:
    """Which of its T frames a probe shows at each place, int64 (T,). What is random is drawn by the clip's name.

    A dropped frame is replaced by the last one before it that is not, or at the beginning by the first that is not.
    """
    t = np.arange(frames)
    random = np.random.default_rng([zlib.crc32(clip_id.encode()), PROBES.index(probe), repeat])
    if probe == SHUFFLED:
        return shuffled(frames, random)
    if probe == FROZEN:
        return np.full(frames, frames // 2)
    if probe == DROPPED:
        lost = random.choice(frames, max(1, frames // 4) if frames > 1 else 0, replace=False)
        kept = np.delete(t, lost)
        return kept[np.maximum(np.searchsorted(kept, t, "right") - 1, 0)]
    if probe == SUBSAMPLED:
        return t // 2 * 2
    if probe == FAST:
        return np.minimum(2 * t, (frames - 1) // 2 * 2)
    return t


def shuffled(frames: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A random order, neither forward nor backward where there are others."""
    t = np.arange(frames)
    avoided = [t, t[::-1]][: max(0, frames - 1)]  # one frame has one order, two have two
    while True:
        found = random.permutation(frames)
        if not any((found == other).all() for other in avoided):
            return found


def played(view: NDArray[np.uint8], probe: str, clip_id: str, modality: str, repeat: int = 0) -> NDArray[np.uint8]:
    """A view (T, H, W, C) as a probe shows it; any but slow, for which the video is read again."""
    if probe == REVERSED:
        return play_backward(view, modality)
    if probe == FROZEN and modality == "flow":
        return np.full_like(view, NO_MOTION)
    return view[order(probe, len(view), clip_id, repeat)]


def slow_view(source: dict[str, Any], p: Preprocessing) -> NDArray[np.uint8]:
    """T frames of the middle half of a video (T, crop, crop, C): what happens there at half the speed.

    Raises:
        UnreadableVideo: it cannot be read.
    """
    path = Path(source["path"])
    count = count_fields(path, p, source["flow"])
    positions = positions_in(count, p)
    half = (positions + 1) // 2
    wanted = fields_of(segment_indices(half, p.frames) + (positions - half) // 2, count, p)
    unique, where = np.unique(wanted, return_inverse=True)
    fields = read_fields(path, unique.tolist(), p, source["flow"])
    view = crop(stack_fields(fields[where.reshape(wanted.shape)]), p.crop)
    return play_backward(view, p.modality) if source["backward"] else view


class ProbedClips(EvaluationClips):
    """The views of a clip are what each probe shows of its middle clip's centre, in the order of `shown`."""

    shuffles = 3

    def __getitem__(self, row: int) -> Sample:
        sample, source, p = super().__getitem__(row), self.rows[row], self.preprocessing
        if sample.views is None:
            return sample
        plain = sample.views[0].numpy()
        try:
            slow = slow_view(source, p)
        except UnreadableVideo as error:
            return Sample(row, None, sample.label, sample.frame_indices, str(error))
        views = [
            slow if name == SLOW else played(plain, name, source["clip_id"], p.modality, repeat)
            for name, repeat in shown(self.shuffles)
        ]
        return Sample(row, torch.from_numpy(np.stack(views)), sample.label, sample.frame_indices)


def probe(
    run: Run,
    data: Path,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    shuffles: int = 3,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Show every clip that `run` recorded in all ways; `data` is the dataset's folder, `batch_size` is in views.

    Returns:
        Why clips could not be read, by clip_id.

    Raises:
        UserError: the run's network is no longer there, the dataset lacks clips, or results of something else are.
    """
    checkpoint, table = recorded(run, data, device)
    meta: dict[str, Any] = {
        "checkpoint_sha256": run.meta["checkpoint_sha256"], "data": str(data.resolve()), "split": run.meta["split"],
        "shuffles": shuffles, "clips": len(table), "command": command,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip
    parts, failures = results_in(run.path), {}
    with computing(run.path / KIND, "probes.json", meta, SAME):
        missing = table[~table["clip_id"].isin(parts.standing())].reset_index(drop=True)
        clips = ProbedClips(missing, checkpoint.classes, checkpoint.preprocessing)
        clips.shuffles = shuffles
        samples, done = read_ahead(clips, len(clips), workers, ahead=2 * workers), len(table) - len(missing)
        progress(done, len(table))
        while some := list(islice(samples, CLIPS_PER_PART)):
            found = []
            for sample in some:
                of_clip = missing.iloc[sample.row]
                if sample.views is None:
                    failures[of_clip["clip_id"]] = sample.failure
                else:
                    scores = scores_of(checkpoint, sample.views, batch_size)
                    found += outcome_rows(of_clip["clip_id"], of_clip["label"], checkpoint.classes, scores, shuffles)
                done += 1
                progress(done, len(table))
            if found:
                parts.add({KIND: pd.DataFrame(found)})
    return failures


@torch.inference_mode()
def scores_of(checkpoint: Checkpoint, views: Tensor, batch_size: int) -> Tensor:
    """The softmax (V, K) of views (V, T, H, W, C) uint8, at most `batch_size` of them at once."""
    device = next(checkpoint.model.parameters()).device
    logits = [
        checkpoint.inference_model(normalise(some.to(device), checkpoint.preprocessing)).cpu()
        for some in views.split(batch_size)
    ]
    return torch.cat(logits).softmax(1)


def outcome_rows(
    clip_id: str, label: str, classes: list[str], scores: Tensor, shuffles: int = 3
) -> list[dict[str, Any]]:
    """A row for each (probe, repeat) of `shown`; `scores` (V, K) are in that order, the plain clip's first."""
    plain = int(scores[0].argmax())
    rows = []
    for (name, repeat), of_view in zip(shown(shuffles), scores, strict=True):
        best = int(of_view.argmax())
        rows.append(
            {
                "clip_id": clip_id,
                "probe": name,
                "repeat": repeat,
                "label": label,
                "prediction": classes[best],
                "correct": classes[best] == label,
                "confidence": float(of_view[best]),
                "score_label": float(of_view[classes.index(label)]) if label in classes else np.nan,
                "score_plain": float(of_view[plain]),
            }
        )
    return rows
