"""A network over a dataset -> a run directory: predictions and attention of every clip.

    RUN/run.json                    what was run on what, and how to repeat it
    RUN/predictions/*.parquet       a row per clip
    RUN/attention/*.parquet         a row per clip and layer
    RUN/failures.parquet            a row per clip that could not be read
    RUN/clip_sample/                of a large run, a random sample of its clips (`large_runs`)

An interrupted recording is resumed with the clips that have no prediction yet, unreadable ones among them. Of each
clip nothing is kept in memory but its row in the table of clips.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.runs.chosen_clips import ChosenClips, choose_split
from analysis.runs.computing import computing_as_asked
from analysis.runs.correctness import counted_clips, with_correctness
from analysis.runs.damaged_parts import recorded_part, set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.described import describe, observed_layers
from analysis.runs.large_runs import store_sample
from analysis.runs.left_out import why_unreadable
from analysis.runs.recorded_network import with_groups_of
from analysis.runs.relabelling import RunChanges, changes_since, join_anew, refuse_gone
from analysis.runs.rows import ShardWriter, written_if_stopped
from analysis.runs.run_directory import FAILURE_COLUMNS, RECORDING, Run, description, kinds_of, open_run, run_work
from analysis.runs.signals import ALPHA, TIME_SHARE
from sth_core.adapted import AdaptedNetwork
from sth_core.checkpoint import Checkpoint
from sth_core.compiled import choose_compiling, compiled_for_reading, form_facts
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.table import Annotation
from sth_core.distributed import DistributedContext, distributed_context
from sth_core.errors import UserError
from sth_core.evaluation import BatchResult, run_over
from sth_core.network_contract import Network
from sth_core.open_network import Named, open_network
from sth_core.out_of_memory import fitting_batch
from sth_core.precision import computing_facts, computing_in
from sth_core.readers import Readers, pick_readers
from sth_core.resumable import Work, locked, read_earlier, working_on
from sth_core.shards import Shards, read_shard, shards, write_table
from sth_core.video.sampling import Protocol

CLIPS_AT_ONCE = 1024  # that are listed to be read: a list of many is much larger than their table


@dataclass(frozen=True)
class RecordingSummary:
    """What was recorded; `accuracy` is over the readable clips that have a known label."""

    run: Path
    clips: int
    failures: int
    accuracy: float


def record(
    network: Named,
    data: Path,
    run: Path,
    options: DatasetOptions = DatasetOptions(),
    *,
    annotation: Annotation | None = None,
    protocol: Protocol = Protocol(),
    with_attention: bool = True,
    vectors: bool = False,
    features: bool = False,
) -> RecordingSummary:
    """Record a split of the dataset in `data` with a network: a checkpoint's file, another name (`NetworkName`), or one
    that is open (`adapt`).

    Without a split in `options`, `choose_split` decides. Clips that were recorded before keep their predictions; labels
    and groups that have changed since are joined anew, which run.json keeps as `relabelled`.

    Labels are where `annotation` says, by default as in the checkpoint's training. Without `with_attention` only the
    predictions are kept; with `vectors` the attention of each channel too, beside its mean; with `features` what the
    classifier is given. Under torchrun every process calls this with the same arguments, takes its share of the clips,
    and writes shards of its own.

    Raises:
        UserError: unusable checkpoint or data, an empty split, another recording or another process in `run`, or
            clips in `run` that are no longer in the split.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the clips so far are written.
    """
    with distributed_context(options.device) as processes:
        checkpoint = open_network(network, processes.device)
        earlier = {} if options.overwrite else description(run)[0]
        annotation = with_groups_of(annotation or checkpoint.annotation, earlier)
        chosen = choose_split(checkpoint, data, annotation, options.split, inside=options.inside)
        notify_choice(chosen, options)
        table, layers = chosen.clips, observed_layers(checkpoint.model) if with_attention else []
        facts = describe(checkpoint, data, annotation, protocol) | chosen.facts
        facts |= {"attention": bool(layers), "vectors": vectors, "features": features}
        refuse_no_features(checkpoint, features)
        if with_attention and checkpoint.model.hidden_weights:
            options.notify(f"no attention is recorded: {checkpoint.model.hidden_weights}")
        facts |= computing_facts(options.precision, processes.device)
        with computing_in(options.precision, processes.device):  # on which the form depends
            reader = checkpoint.inference_model
            views = options.batch_size or 2  # of AUTO_BATCH: what fits is found later, and is more than one
            facts |= form_facts(reader, choose_compiling(reader, len(table) * protocol.views, views))
        work = run_work(run, facts)
        if processes.is_main:
            set_aside_earlier(work, len(checkpoint.classes), [layer.index for layer in layers], features, options)
        changes = changes_of(work, table, checkpoint.classes, options) if processes.is_main else RunChanges()
        if notes := [*earlier.get("relabelled", []), *[changes.note] * bool(changes)]:
            facts["relabelled"] = notes
        begun = working_on(work, facts, command=options.command, overwrite=options.overwrite, notify=options.notify)
        in_folder: AbstractContextManager[dict[str, Any]] = begun if processes.is_main else nullcontext({})
        with in_folder as meta:
            written = Shards(run, kinds_of(features))
            if processes.is_main:
                written.tidy()
                join_anew(run, changes, table, checkpoint.classes)
            processes.wait_for_all()
            number = written.next_number() + processes.rank
            signal = TIME_SHARE if checkpoint.model.token_layers else ALPHA
            kept = (layers, vectors, signal, features)
            writer = ShardWriter(written, number, processes.world, checkpoint.classes, *kept)
            missing = table[~table["clip_id"].isin(written.done())]
            processes.wait_for_all()  # all know what is there before one writes more
            if len(missing):
                record_clips(checkpoint, missing, protocol, options, writer, processes, len(table), meta)
            else:  # nothing is computed on another device, or in another form
                meta |= {key: earlier.get(key, facts[key]) for key in ("device", "form", "compiled")}
            unread = [row for of_one in processes.gather(writer.failures) for row in of_one]
            failures = pd.DataFrame(unread, columns=FAILURE_COLUMNS).sort_values("clip_id")
            if processes.is_main:
                write_table(run / "failures.parquet", failures)
                store_sample(run, meta, options.notify)
        processes.wait_for_all()
    return RecordingSummary(run, len(table), len(failures), recorded_accuracy(run, checkpoint.classes))


def record_clips(
    checkpoint: Checkpoint, missing: pd.DataFrame, protocol: Protocol, options: DatasetOptions, writer: ShardWriter,
    processes: DistributedContext, total: int, meta: dict[str, Any],
) -> None:  # fmt: skip
    """This process's share of the clips that are missing, of `total` ones. `meta` gets the form that computed them."""
    done, mine = total - len(missing), missing[processes.rank :: processes.world]
    p = checkpoint.preprocessing
    side = p.short_side if protocol.crops == 3 else p.crop

    def fit() -> int:
        return fitting_batch(checkpoint.inference_model, p, side)

    with (
        written_if_stopped(writer),
        computing_as_asked(options, processes.device, fit) as options,
        pick_readers(processes.device, options.workers) as readers,
    ):
        options.progress(done, total)
        size = options.batch_size
        views = size // protocol.views * protocol.views or size  # those of whole clips are computed together
        total_views = len(mine) * protocol.views
        network, compiling = compiled_for_reading(checkpoint.inference_model, total_views, views, options.notify)
        shares = bool(writer.layers) and writer.signal == TIME_SHARE
        results = batch_results(
            checkpoint, network, mine, protocol, size, readers, shares=shares, with_features=writer.features
        )
        for batch, clips in results:
            writer.add(batch, clips)
            done += (len(batch.samples) + len(batch.failed)) * processes.world
            options.progress(min(done, total), total)
        meta |= form_facts(network, compiling)
    writer.flush()


def refuse_no_features(checkpoint: Checkpoint, features: bool) -> None:
    """Raises UserError: features are asked for, and it is not known which layer of the network classifies."""
    if features and isinstance(checkpoint.model, AdaptedNetwork) and not checkpoint.model.classifier:
        raise UserError(f"no layer of {checkpoint.model.arch} has one output for each class; leave out --features")


def notify_choice(chosen: ChosenClips, options: DatasetOptions) -> None:
    """One line of what was found, and one of which clips are taken if the user did not say so."""
    options.notify(chosen.found.sentence)
    if chosen.why:
        options.notify(chosen.why)


def set_aside_earlier(work: Work, classes: int, layers: list[int], features: bool, options: DatasetOptions) -> None:
    """Set the damaged parts of an earlier call aside, before they are read."""
    if options.overwrite or not read_earlier(work):
        return
    with locked(work.folder):
        check, parts = recorded_part(classes, layers, features), Shards(work.folder, kinds_of(features))
        set_aside_damaged(work, parts, options.notify, check)


def changes_of(work: Work, table: pd.DataFrame, classes: list[str], options: DatasetOptions) -> RunChanges:
    """What has changed in the dataset since `work` was begun, which is told; nothing if it is to be overwritten.
    Raises UserError: the folder holds other work, or clips that the dataset no longer has."""
    if options.overwrite or not read_earlier(work):
        return RunChanges()
    changes = changes_since(work.folder, table, classes)
    refuse_gone(changes, work, Path(work.identity["data"]))
    if changes:
        options.notify(changes.sentence)
    return changes


def batch_results(
    checkpoint: Checkpoint,
    network: Network,
    table: pd.DataFrame,
    protocol: Protocol,
    size: int,
    readers: Readers,
    *,
    shares: bool = False,
    with_features: bool = False,
) -> Iterator[tuple[BatchResult, pd.DataFrame]]:
    """The result of each batch, with the table that its samples' rows are of."""
    at_once = max(1, CLIPS_AT_ONCE // size) * size  # whole batches, as if all were listed
    for start in range(0, len(table), at_once):
        some = table.iloc[start : start + at_once].reset_index(drop=True)
        clips = EvaluationClips(some, checkpoint.classes, checkpoint.preprocessing, protocol)
        results = run_over(
            network, clips, checkpoint.preprocessing, size, readers, shares=shares, with_features=with_features
        )
        for batch in results:
            yield batch, some


def recorded_accuracy(run: Path, classes: list[str]) -> float:
    """The share of correct predictions among the clips of a known label; NaN if there are none."""
    columns = ["label", "correct", "confidence"]
    tables = [read_shard(file, columns).to_pandas() for file in shards(run, "predictions")]
    counted = [counted_clips(with_correctness(table, classes))["correct"] for table in tables]
    correct = pd.concat(counted) if counted else pd.Series(dtype=bool)
    return float(correct.mean()) if len(correct) else math.nan


def open_or_record(
    network: Named,
    data: Path,
    folder: Path,
    options: DatasetOptions = DatasetOptions(),
    *,
    annotation: Annotation | None = None,
) -> Run:
    """The run in `folder`: a finished one as it is, with or without attention, and with the dataset's labels as they
    are now; else it is recorded now.

    Raises:
        UserError: it is of another checkpoint, dataset or split, or not of one view a clip, and `options` do not ask
            to overwrite it; or it cannot be recorded.
    """
    run, checkpoint = open_run(folder), open_network(network)
    wanted = with_groups_of(annotation or checkpoint.annotation, run.meta)
    chosen = choose_split(checkpoint, data, wanted, options.split)
    facts = describe(checkpoint, data, wanted, Protocol()) | chosen.facts
    kept_as_it_is = ("attention", "vectors", "features", "precision")
    work = run_work(folder, facts, tuple(key for key in RECORDING if key not in kept_as_it_is))
    options = replace(options, overwrite=options.overwrite and bool(work.differences(run.meta)))
    kept: Any = {}
    if run.meta.get("finished") and not options.overwrite:
        read_earlier(work)
        if not why_unreadable(run) and not changes_since(folder, chosen.clips, checkpoint.classes):
            notify_choice(chosen, options)
            return run
        kept = {"with_attention": run.meta["attention"], **{key: run.meta[key] for key in ("vectors", "features")}}
        options = replace(options, precision=run.meta["precision"])
    record(checkpoint, data, folder, options, annotation=annotation, **kept)
    return open_run(folder)
