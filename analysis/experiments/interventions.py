"""`interventions` over a dataset, written beside a run:

    RUN/interventions/interventions.json    what was done
    RUN/interventions/effects/*.parquet     a row per clip, place and kind of replaced alpha
    RUN/interventions/failures.parquet      a row per clip that has no effects, and why; only if there are any

An interrupted call is resumed with the batches that are missing.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments.clip_reading import normalised_clips
from analysis.explain.alpha_replacement import (
    ANOTHER_CLIP,
    REPLACEMENTS,
    donor_of,
    donor_pool,
    intervention_table,
    places,
)
from analysis.runs.computing import computing_as_asked
from analysis.runs.damaged_parts import part_of, set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recorded_network import checkpoint_and_clips
from analysis.runs.run_directory import Run
from sth_core.checkpoint import Checkpoint
from sth_core.compiled import compiled_for_reading, form_facts
from sth_core.errors import NOT_FINITE, UserError
from sth_core.network_contract import Network
from sth_core.open_network import Named
from sth_core.precision import computing_facts
from sth_core.resumable import Work, working_on
from sth_core.shards import Shards, read_failures, write_failures

BROKEN = f"with α replaced, {NOT_FINITE}"


def effects_in(run: Path) -> Shards:
    return Shards(run / "interventions", ("effects",))


def intervene(
    run: Run, data: Path, options: DatasetOptions = DatasetOptions(), *, network: Named | None = None, seed: int = 0
) -> dict[str, str]:
    """Replace attention in every clip that `run` recorded; `data` is the dataset's folder. Returns why clips, by
    clip_id, have no effects; of these a later call tries again only those that could not be read.

    The clips whose alpha replaces that of others are drawn from the whole dataset, with `seed` (`donor_of`).

    Raises:
        UserError: the run's network has no attention or is no longer there, or there are results of other work.
    """
    checkpoint, table = checkpoint_and_clips(run, data, options, network)
    device = next(checkpoint.model.parameters()).device
    try:
        places(checkpoint.model)
    except ValueError as error:
        raise UserError(f"{run.path}: {error}") from error
    identity = {"checkpoint_sha256": run.meta["checkpoint_sha256"], "data": str(data.resolve())}
    identity |= {"split": run.meta["split"], "batch_size": options.batch_size, "seed": seed}
    computing = computing_facts(options.precision, device)
    identity |= {"replacements": list(REPLACEMENTS), "precision": computing["precision"]}
    shards, owned = effects_in(run.path), ("effects", "failures.parquet", "index.html", "*.csv")
    work = Work(shards.folder, "interventions.json", "set of interventions", identity, owned, {"precision": "fp32"})
    facts = {"clips": len(table), **computing}
    begun = working_on(work, facts, command=options.command, overwrite=options.overwrite, notify=options.notify)
    with begun as meta:
        set_aside_damaged(work, shards, options.notify, part_of(table))
        shards.tidy()
        earlier = left_out_clips(run.path)
        failures = {clip: reason for clip, reason in earlier.items() if reason == BROKEN}
        finished = shards.done() | failures.keys()
        if len(finished) < len(table):
            with computing_as_asked(options, device):
                views = len(table) + (len(table) - len(finished)) * (
                    1 + len(places(checkpoint.model)) * len(REPLACEMENTS)
                )
                size, fast = options.batch_size, checkpoint.inference_model
                shown_to, compiling = compiled_for_reading(fast, views, size, options.notify)
                replace_alpha(checkpoint, shown_to, table, shards, finished, failures, options, seed)
                meta |= form_facts(shown_to, compiling)
        if failures != earlier:
            write_failures(shards.folder, failures)
    return failures


def replace_alpha(
    checkpoint: Checkpoint, network: Network, table: pd.DataFrame, shards: Shards, finished: set[str],
    failures: dict[str, str], options: DatasetOptions, seed: int,
) -> None:  # fmt: skip
    """Write the effects on `network`, the checkpoint's for inference, of the clips that are not `finished`; those that
    have none are put into `failures`."""
    done, total = len(finished), len(table)
    options.progress(done, total)
    options.notify(f"first the mean of α over all {total} clips is taken")
    mean, donors = mean_and_donors(checkpoint, network, table, options, seed)
    labels, pool = list(table["label"]), list(donors)
    for rows, clips in clip_batches(checkpoint, table, options, finished, failures):
        with torch.inference_mode():
            plain = network(clips)
        chosen = [donor_of(clip, labels, pool, seed) for clip in rows.index]
        other = stacked([donors[i] for i in chosen if i is not None]) if None not in chosen else {}
        if not other:
            options.notify(f"there is no other clip whose α could be taken: not measured: {ANOTHER_CLIP} α")
        effects = intervention_table(network, clips, rows, checkpoint.classes, plain, mean, other)
        if broken := set(rows["clip_id"]) - set(effects["clip_id"]) - finished:
            failures |= dict.fromkeys(sorted(broken), BROKEN)
            write_failures(shards.folder, failures)
        if len(new := effects[~effects["clip_id"].isin(finished)]):
            shards.write({"effects": new})
        done = min(total, done + options.batch_size)
        options.progress(done, total)


def left_out_clips(run: Path) -> dict[str, str]:
    """{clip_id: why} of the clips that have no effects. Raises UserError: the table cannot be read."""
    folder = effects_in(run).folder
    try:
        return read_failures(folder) if (folder / "failures.parquet").is_file() else {}
    except UserError as error:
        raise UserError(f"{error}; remove it, and its clips are tried again") from error


def clip_batches(
    checkpoint: Checkpoint, table: pd.DataFrame, options: DatasetOptions, without: set[str], unread: dict[str, str]
) -> Iterator[tuple[pd.DataFrame, Tensor]]:
    """Each batch's rows and its clips (B, T, C, H, W), normalised; not those whose clips are all in `without`. Why
    clips cannot be read is put into `unread`."""
    size = options.batch_size
    batches = [table.iloc[i : i + size] for i in range(0, len(table), size)]
    batches = [rows for rows in batches if not set(rows["clip_id"]) <= without]
    if not batches:
        return
    clips = normalised_clips(checkpoint, pd.concat(batches), options.workers, size)
    for rows in batches:
        read = list(islice(clips, len(rows)))
        found = [clip is not None for clip, _ in read]
        unread |= {name: why for name, (clip, why) in zip(rows["clip_id"], read, strict=True) if clip is None}
        if readable := [clip for clip, _ in read if clip is not None]:
            yield rows[found], torch.stack(readable)


Alphas = dict[str, Tensor]  # {layer: (2, C_out)}


@torch.inference_mode()
def mean_and_donors(
    checkpoint: Checkpoint, network: Network, table: pd.DataFrame, options: DatasetOptions, seed: int
) -> tuple[Alphas, dict[int, Alphas]]:
    """The mean of alpha over all clips that can be read, and alpha of those of `donor_pool`, by row."""
    sums: Alphas = {}
    donors: dict[int, Alphas] = {}
    count, pool = 0, set(donor_pool(len(table), seed))
    for rows, clips in clip_batches(checkpoint, table, options, set(), {}):
        alphas = network.forward_with_attention(clips)[1]
        for layer, alpha in alphas.items():
            sums[layer] = sums.get(layer, 0) + alpha.double().sum(0)
        donors |= {
            row: {layer: alpha[i].clone() for layer, alpha in alphas.items()}
            for i, row in enumerate(rows.index) if row in pool
        }  # fmt: skip
        count += len(rows)
    return {layer: (total / count).float() for layer, total in sums.items()}, donors


def stacked(alphas: list[Alphas]) -> Alphas:
    """alpha of several clips as {layer: (B, 2, C_out)}."""
    return {layer: torch.stack([of_clip[layer] for of_clip in alphas]) for layer in alphas[0]}
