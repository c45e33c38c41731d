"""The attention of a run as one matrix: a row per clip, a column per layer.

240,000 clips in 16 layers (Kinetics) take 15 MB and are read in under a second.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.runs.clip_rows import in_order
from analysis.runs.run_check import INCOMPLETE
from analysis.runs.run_directory import ALL_BUT_SCORES, Run, clips_of, map_shards, read_shards
from analysis.runs.signals import ALPHA, Signal, signal_of
from analysis.statistics.clusters import cluster_means, group_sums
from sth_core.errors import UserError
from sth_core.shards import shards


@dataclass(frozen=True, eq=False)
class Alpha:
    """alpha_T of N clips in L layers; alpha_S is 1 - alpha_T. Of a transformer it is the attention across time that
    stands in `temporal`, and in the columns alpha_temporal of tables made of it: `signal` says which."""

    clips: pd.DataFrame  # (N rows) of `clips_of`, ordered by clip_id
    layers: pd.DataFrame  # (L rows) layer_index, layer, stage, from input to output
    temporal: NDArray[np.float32]  # (N, L) means over a layer's channels (Section 6.1); sum them in float64
    signal: Signal = field(default=ALPHA)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(N,): alpha_T of each clip, mean over the layers."""
        return self.temporal.mean(1, np.float64)

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """(N,): a number for the group of each clip, which is faster to compare than its name."""
        return pd.factorize(self.clips["group"])[0]


ReadAlpha = Callable[[Run], Alpha]


def has_attention(run: Run) -> bool:
    """Whether `read_alpha` has something to read: the run's attention is alpha."""
    return has_signal(run) and signal_of(run) == ALPHA


def has_signal(run: Run) -> bool:
    """Whether `read_signal` has something to read: alpha, or a transformer's attention across time."""
    return run.usable and bool(run.meta.get("attention") and shards(run.path, "attention"))


def read_once() -> ReadAlpha:
    """`read_alpha` of what statistics need, that reads each run once and keeps it: 50 MB of 240,000 clips."""
    kept: dict[Path, Alpha] = {}

    def read(run: Run) -> Alpha:
        if run.path not in kept:
            kept[run.path] = read_alpha(run, ("group",))
        return kept[run.path]

    return read


def read_alpha(run: Run, more: tuple[str, ...] = ALL_BUT_SCORES) -> Alpha:
    """Read the alpha that a run has recorded; `more` as of `clips_of`.

    Raises:
        UserError: there is none, it cannot be read, or it does not cover all recorded clips.
    """
    if (signal := signal_of(run)) != ALPHA:
        raise UserError(f"{run.path} holds no α: its network is a transformer, of which it holds {signal.name}")
    return read_signal(run, more)


def read_signal(run: Run, more: tuple[str, ...] = ALL_BUT_SCORES) -> Alpha:
    """As `read_alpha`, of any run that has recorded attention: `Alpha.signal` is what it is."""
    signal = signal_of(run)
    clips = clips_of(run, more)
    recorded = set(clips["shard"].cat.categories)
    names, matrices, layers = [], [], recorded_layers(run)
    of_shard = partial(shard_matrix, layers=layers["layer_index"].to_numpy(), column=signal.column)
    columns = ("clip_id", "layer_index", signal.column)
    for shard, (shard_names, matrix) in map_shards(run, "attention", columns, ("clip_id",), (), of_shard):
        # A shard's attention is written before its predictions; a stored sample has that of recorded shards.
        if not (run.stored or shard in recorded) or not len(shard_names):
            continue
        if matrix is None:
            raise UserError(INCOMPLETE.format(run.path))
        names.append(shard_names)
        matrices.append(matrix)
    if not names:
        raise UserError(INCOMPLETE.format(run.path))
    clip_ids, temporal = pa.concat_arrays(names), np.concatenate(matrices)
    if not in_order(clip_ids):
        order = pc.array_sort_indices(clip_ids)
        clip_ids, temporal = clip_ids.take(order), temporal[order]
    of_clips = pa.Table.from_pandas(clips[["clip_id"]], preserve_index=False)["clip_id"].cast(clip_ids.type)
    if not of_clips.equals(pa.chunked_array([clip_ids])) or np.isnan(temporal).any():
        raise UserError(INCOMPLETE.format(run.path))
    return Alpha(clips, layers, temporal, signal)


def recorded_layers(run: Run) -> pd.DataFrame:
    """The layers, as the first shard lists them."""
    for _, table in read_shards(run, "attention", ("layer_index", "layer", "stage"), ("layer", "stage")):
        if len(table):
            layers = table.to_pandas().drop_duplicates("layer_index")
            return layers.sort_values("layer_index", ignore_index=True).astype({"layer": str, "stage": str})
    raise UserError(INCOMPLETE.format(run.path))


def shard_matrix(
    table: pa.Table, layers: NDArray[np.int64], column: str = ALPHA.column
) -> tuple[pa.Array, NDArray[np.float32] | None]:
    """The clips of a shard, and this column at these layers (clips, L): nan where it is missing, None if a row stands
    twice or is not there, or is of another layer."""
    if not len(table):  # whose columns may be of no type
        return pa.array([], pa.large_string()), None
    clips = table.unify_dictionaries()["clip_id"].combine_chunks()
    names, at = clips.dictionary.cast(pa.large_string()), np.searchsorted(layers, table["layer_index"])
    known = layers[np.minimum(at, len(layers) - 1)] == table["layer_index"].to_numpy()
    if not known.all() or len(names) * len(layers) != len(table):
        return names, None
    matrix = np.full((len(names), len(layers)), np.nan, np.float32)
    matrix[clips.indices.to_numpy(), at] = table[column]
    return names, matrix


def alpha_by_layer(alpha: Alpha, chosen: pd.Series | list[int] | None = None) -> pd.DataFrame:
    """A row per layer, over the chosen clips (a mask, or row numbers) or all; no row if there are none.

    sd is that of alpha_T and of alpha_S, as they sum to 1; 0 for a single clip.
    """
    values = alpha.temporal if chosen is None else alpha.temporal[chosen]
    if not (n := len(values)):
        return alpha.layers.iloc[:0].assign(n=0, alpha_spatial=np.nan, alpha_temporal=np.nan, sd=np.nan)
    mean = values.mean(0, np.float64)
    # By column: the whole matrix in float64 would take twice its memory.
    sd = [np.float64(0) if n == 1 else column.std(dtype=np.float64, ddof=1) for column in values.T]
    return alpha.layers.assign(n=n, alpha_spatial=1 - mean, alpha_temporal=mean, sd=sd)


def layer_intervals(layers: pd.DataFrame, values: NDArray[np.floating], groups: pd.Series) -> pd.DataFrame:
    """The layers with the mean of values (n, L), as alpha_temporal, and its 95 % interval over the groups
    (`cluster_means`; nan for a single one); no row if there are no clips."""
    if not len(values):
        return layers.iloc[:0].assign(n=0, groups=0, alpha_temporal=np.nan, low=np.nan, high=np.nan)
    found = cluster_means(*group_sums(values, groups))
    return layers.assign(
        n=found.n, groups=found.groups, alpha_temporal=found.value, low=found.low, high=found.high
    )  # fmt: skip


def alpha_profile(alpha: Alpha, rows: NDArray[np.intp]) -> pd.DataFrame:
    """`layer_intervals` of the clips in these rows."""
    return layer_intervals(alpha.layers, alpha.temporal[rows], alpha.clips["group"].iloc[rows])
