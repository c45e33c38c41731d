"""Does a network use the frame order? Each clip shown in ways that keep its frames and change their order.

`probe` does it over a dataset, beside a run: RUN/probes/*.parquet (a row per clip, probe and repeat) and probes.json.
An interrupted call is resumed with the clips that are missing.
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.experiments.probe_tables import KIND, NEEDS_LABELS, PLAIN, PROBES, SLOW, probes_in
from analysis.runs.computing import computing_as_asked
from analysis.runs.correctness import correctness, counted_clips
from analysis.runs.damaged_parts import part_of, set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recorded_network import checkpoint_and_clips
from analysis.runs.run_directory import Run, predictions
from sth_core.checkpoint import Checkpoint
from sth_core.compiled import compiled_for_reading, form_facts
from sth_core.datasets.clips import EvaluationClips, NumberedRow, Sample
from sth_core.errors import NOT_FINITE, UserError
from sth_core.network_contract import Network
from sth_core.open_network import Named
from sth_core.precision import at_least_fp32, computing_facts
from sth_core.readers import pick_readers
from sth_core.resumable import Work, working_on
from sth_core.shards import Shards
from sth_core.stopping import uninterrupted
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import count_fields, fields_of, positions_in, read_fields, read_wanted, stack_fields
from sth_core.video.reorder import SHUFFLED, reorder
from sth_core.video.sampling import slow_positions
from sth_core.video.transforms import Preprocessing, centre_crop, normalise, play_backward

CLIPS_PER_SHARD = 16


def shown_probes(shuffles: int) -> list[tuple[str, int]]:
    """(probe, repeat) of all that is shown of a clip, in order."""
    return [(name, repeat) for name in PROBES for repeat in range(shuffles if name == SHUFFLED else 1)]


def probed_view(view: NDArray[np.uint8], probe: str, clip_id: str, modality: str, repeat: int = 0) -> NDArray[np.uint8]:
    """A view (T, H, W, C) as a probe shows it; not slow, which reads the video again. The clip's name is the seed."""
    if probe == PLAIN:
        return view
    return reorder(view, probe, modality, [zlib.crc32(clip_id.encode()), PROBES.index(probe), repeat])


def slow_view(source: ClipSource, p: Preprocessing) -> NDArray[np.uint8]:
    """T frames of the middle half of a clip (T, crop, crop, C), half as far apart: half the speed."""
    count = count_fields(source, p)
    wanted = fields_of(slow_positions(positions_in(count, p), p.frames, p.stride, p.dense), count, p)
    view = centre_crop(stack_fields(read_wanted(wanted, lambda indices: read_fields(source, indices, p))), p)
    return play_backward(view, p.modality) if source.backward else view


class ProbedClips(EvaluationClips):
    """The views of a clip are what each probe shows of its middle clip's centre, in the order of `shown_probes`."""

    def __init__(
        self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, shuffles: int = 3
    ) -> None:
        super().__init__(table, classes, preprocessing)
        self.shuffles = shuffles

    def read_row(self, numbered: NumberedRow) -> Sample:
        sample, (row, source), p = super().read_row(numbered), numbered, self.preprocessing
        if sample.views is None:
            return sample
        plain = sample.views[0].numpy()
        try:
            slow = slow_view(ClipSource.from_row(source), p)
        except UnreadableVideo as error:
            return Sample(row, None, sample.label, sample.frame_indices, str(error))
        views = [
            slow if name == SLOW else probed_view(plain, name, source["clip_id"], p.modality, repeat)
            for name, repeat in shown_probes(self.shuffles)
        ]
        return Sample(row, torch.from_numpy(np.stack(views)), sample.label, sample.frame_indices)


def probe(
    run: Run, data: Path, options: DatasetOptions = DatasetOptions(), *, network: Named | None = None, shuffles: int = 3
) -> dict[str, str]:
    """Show every clip that `run` recorded in all ways; `data` is the dataset's folder. Returns why clips, by clip_id,
    could not be read.

    Raises:
        UserError: the network knows the label of no clip or is no longer there, the dataset lacks clips, or there are
            results of other work.
    """
    if counted_clips(predictions(run)).empty:
        raise UserError(f"the network knows the label of no clip in {run.path}; {NEEDS_LABELS}")
    checkpoint, table = checkpoint_and_clips(run, data, options, network)
    device = next(checkpoint.model.parameters()).device
    identity = {"checkpoint_sha256": run.meta["checkpoint_sha256"], "data": str(data.resolve())}
    computing = computing_facts(options.precision, device)
    identity |= {"split": run.meta["split"], "shuffles": shuffles, "precision": computing["precision"]}
    owned = ("part-*.parquet", "index.html", "*.csv")
    work = Work(run.path / KIND, "probes.json", "set of probes", identity, owned, {"precision": "fp32"})
    failures: dict[str, str] = {}
    facts = {"clips": len(table), **computing}
    begun = working_on(work, facts, command=options.command, overwrite=options.overwrite, notify=options.notify)
    with begun as meta:
        shards = probes_in(run.path)
        set_aside_damaged(work, shards, options.notify, part_of(table))
        shards.tidy()
        missing = table[~table["clip_id"].isin(shards.done())].reset_index(drop=True)
        clips = ProbedClips(missing, checkpoint.classes, checkpoint.preprocessing, shuffles)
        readers = pick_readers(next(checkpoint.model.parameters()).device, options.workers)
        finished = len(table) - len(missing)
        options.progress(finished, len(table))
        views = len(missing) * len(shown_probes(shuffles))
        with ExitStack() as opened:
            opened.enter_context(computing_as_asked(options, device))
            opened.enter_context(readers)
            size = min(options.batch_size, len(shown_probes(shuffles)))  # those of one clip are computed together
            shown_to, compiling = compiled_for_reading(checkpoint.inference_model, views, size, options.notify)
            writer = ProbeWriter(shards, checkpoint, shown_to, shuffles, options.batch_size)
            opened.enter_context(writer.written_at_end())
            for done, sample in enumerate(clips.read_ahead(readers, ahead=2 * readers.workers), finished + 1):
                clip_id, label = missing.loc[sample.row, ["clip_id", "label"]]
                failure = writer.add(clip_id, label, sample.views) if sample.views is not None else sample.failure
                if failure:
                    failures[clip_id] = failure
                options.progress(done, len(table))
            if len(missing):
                meta |= form_facts(shown_to, compiling)
    return failures


@dataclass(frozen=True)
class ProbeWriter:
    """Collects the rows of clips, and writes them in shards."""

    shards: Shards
    checkpoint: Checkpoint
    network: Network
    shuffles: int
    batch_size: int
    held: list[pd.DataFrame] = field(default_factory=list)

    def add(self, clip_id: str, label: str, views: Tensor) -> str:
        """Returns why the clip has no rows, or nothing."""
        scores = scores_of(self.network, self.checkpoint.preprocessing, views, self.batch_size)
        if not torch.isfinite(scores).all():
            return NOT_FINITE
        self.held.append(probe_rows(clip_id, label, self.checkpoint.classes, scores, self.shuffles))
        if len(self.held) >= CLIPS_PER_SHARD:
            self.flush()
        return ""

    @uninterrupted()
    def flush(self) -> None:
        if self.held:
            self.shards.write({KIND: pd.concat(self.held, ignore_index=True)})
            self.held.clear()

    @contextmanager
    def written_at_end(self) -> Iterator[None]:
        """Write what is held when the block ends, also when Ctrl-C or SIGTERM ends it."""
        try:
            yield
        except KeyboardInterrupt:
            self.flush()
            raise
        self.flush()


@torch.inference_mode()
def scores_of(network: Network, preprocessing: Preprocessing, views: Tensor, batch_size: int) -> Tensor:
    """The softmax (V, K) of views (V, T, H, W, C) uint8, at most `batch_size` of them at once."""
    device = next(network.parameters()).device
    logits = [
        at_least_fp32(network(normalise(some.to(device), preprocessing))).cpu() for some in views.split(batch_size)
    ]
    return torch.cat(logits).softmax(1)


def probe_rows(clip_id: str, label: str, classes: list[str], scores: Tensor, shuffles: int = 3) -> pd.DataFrame:
    """A row for each (probe, repeat) of `shown_probes`; `scores` (V, K) are in that order, the plain clip's first."""
    shown = [(clip_id, *of_view, label) for of_view in shown_probes(shuffles)]
    rows = pd.DataFrame(shown, columns=["clip_id", "probe", "repeat", "label"])
    values, best = scores.double().numpy(), scores.argmax(1).numpy()
    rows["prediction"] = np.array(classes, object)[best]
    return rows.assign(
        correct=correctness(rows["prediction"], rows["label"], classes),
        confidence=values.max(1),
        score_label=values[:, classes.index(label)] if label in classes else np.nan,
        score_plain=values[:, best[0]],
    )
