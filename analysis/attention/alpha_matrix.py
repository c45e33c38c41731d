"""The attention of a run as one matrix: a row per clip, a column per layer.

A run of Kinetics' size, 240,000 clips in 16 layers, is read in under a second and is 15 MB then; whatever is asked of
it after that is a few operations on arrays.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import special

from analysis.runs.run_directory import Run, clips_of, read_parts
from analysis.statistics.uncertainty import group_sums, standard_error
from sth_core.errors import UserError

LAYERS = ("layer_index", "layer", "stage")
VALUES = ("clip_id", "layer_index", "alpha_temporal")
NOT_OF_ALL = "{}: its attention is not that of all its clips and layers; record it again"


@dataclass(frozen=True, eq=False)
class Alpha:
    """alpha_T of N clips in L layers; alpha_S is 1 less it.

    Attributes:
        clips: (N rows) what is known of each clip, ordered by clip_id: `analysis.runs.run_directory.clips_of`'s table.
        layers: (L rows) layer_index, layer, stage, from input to output.
        temporal: (N, L), each the mean over a layer's channels (Section 6.1), in the precision of the network. Whoever
            adds them up does so in float64.
    """

    clips: pd.DataFrame
    layers: pd.DataFrame
    temporal: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(N,): alpha_T of each clip, mean over the layers."""
        return self.temporal.mean(1, np.float64)


def read_alpha(run: Run) -> Alpha:
    """The attention that a run has recorded.

    Raises:
        UserError: it has none, it cannot be read, or it is not of all the clips that were recorded.
    """
    clips = clips_of(run)
    recorded = set(clips["part"].cat.categories)  # a part's attention is written before its predictions
    names, matrices = [], []
    layers = layers_of(run)
    for part, table in read_parts(run, "attention", VALUES, ("clip_id",)):
        if part not in recorded or not len(table):
            continue
        if not np.isin(table["layer_index"], layers["layer_index"]).all():
            raise UserError(NOT_OF_ALL.format(run.path))
        of_part, matrix = matrix_of(table, layers["layer_index"].to_numpy())
        names.append(of_part)
        matrices.append(matrix)
    if not names:
        raise UserError(NOT_OF_ALL.format(run.path))
    clip_ids = pa.concat_arrays(names)
    order = pc.array_sort_indices(clip_ids)
    temporal = np.concatenate(matrices)[order]
    if not clip_ids.take(order).equals(pa.array(clips["clip_id"], pa.large_string())) or np.isnan(temporal).any():
        raise UserError(NOT_OF_ALL.format(run.path))
    return Alpha(clips, layers, temporal)


def layers_of(run: Run) -> pd.DataFrame:
    """The layers, as the first part names them."""
    parts = (table for _, table in read_parts(run, "attention", LAYERS, ("layer", "stage")) if len(table))
    first = next(parts, None)
    if first is None:
        raise UserError(NOT_OF_ALL.format(run.path))
    layers = first.to_pandas().drop_duplicates("layer_index")
    return layers.sort_values("layer_index", ignore_index=True).astype({"layer": str, "stage": str})


def matrix_of(table: pa.Table, layers: NDArray[np.int64]) -> tuple[pa.Array, NDArray[np.float32]]:
    """A part: its clips, and their alpha_T at these layers (clips, L), nan where there is none."""
    clips = table.unify_dictionaries()["clip_id"].combine_chunks()
    matrix = np.full((len(clips.dictionary), len(layers)), np.nan, np.float32)
    matrix[clips.indices.to_numpy(), np.searchsorted(layers, table["layer_index"])] = table["alpha_temporal"]
    return clips.dictionary.cast(pa.large_string()), matrix


def by_layer(alpha: Alpha, chosen: pd.Series | list[int] | None = None) -> pd.DataFrame:
    """A row per layer, over the chosen clips (a mask, or their rows) or all.

    Returns:
        layer_index, layer, stage, n, alpha_spatial, alpha_temporal, sd (of both: they sum to 1; 0 for a single clip);
        no row without a clip.
    """
    values = alpha.temporal if chosen is None else alpha.temporal[chosen]
    n = len(values)
    if not n:
        return alpha.layers.iloc[:0].assign(n=0, alpha_spatial=np.nan, alpha_temporal=np.nan, sd=np.nan)
    mean = values.mean(0, np.float64)
    sd = [np.float64(0) if n == 1 else column.std(dtype=np.float64, ddof=1) for column in values.T]  # one needs room
    return alpha.layers.assign(n=n, alpha_spatial=1 - mean, alpha_temporal=mean, sd=sd)


def with_interval(layers: pd.DataFrame, values: NDArray[np.floating], groups: pd.Series) -> pd.DataFrame:
    """The layers with n, groups (how many source videos), alpha_temporal (the mean), low and high (95 % over these
    groups, Student's t; nan for a single one) of values (n, L); no row without a clip."""
    if not len(values):
        return layers.iloc[:0].assign(n=0, groups=0, alpha_temporal=np.nan, low=np.nan, high=np.nan)
    sums, counts = group_sums(values, groups)
    mean, G = sums.sum(0) / len(values), len(counts)
    half = special.stdtrit(max(G - 1, 1), 0.975) * standard_error(sums, counts)
    return layers.assign(n=len(values), groups=G, alpha_temporal=mean, low=mean - half, high=mean + half)
