"""The attention of a run as one matrix: a row per clip, a column per layer.

A run of Kinetics' size, 240,000 clips in 16 layers, is read in under a second and is 31 MB then; whatever is asked of
it after that is a few operations on arrays.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.runs import Run, clips_of, parts
from sth_core.errors import UserError

LAYERS = ["layer_index", "layer", "stage"]


@dataclass(frozen=True, eq=False)
class Alpha:
    """alpha_T of N clips in L layers; alpha_S is 1 less it.

    Attributes:
        clips: (N rows) what is known of each clip, ordered by clip_id: `analysis.runs.clips_of`'s table.
        layers: (L rows) layer_index, layer, stage, from input to output.
        temporal: (N, L), each the mean over a layer's channels (Section 6.1).
    """

    clips: pd.DataFrame
    layers: pd.DataFrame
    temporal: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(N,): alpha_T of each clip, mean over the layers."""
        return self.temporal.mean(1)


def read_alpha(run: Run, clips: pd.DataFrame | None = None) -> Alpha:
    """The attention that a run has recorded; `clips` are its `clips_of`, where they are known already.

    Raises:
        UserError: it has none, cannot be read, or is not of all the clips that were recorded.
    """
    clips = clips_of(run) if clips is None else clips
    recorded = {part.name for part in parts(run.path, "predictions")}
    files = [part for part in parts(run.path, "attention") if part.name in recorded]  # it is written before those
    if not files:
        raise UserError(f"{run.path} holds no attention")
    try:
        layers = read_layers(files[0])
        names, matrices = zip(*(read_part(file, layers["layer_index"].to_numpy()) for file in files), strict=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{run.path}: its attention cannot be read ({str(error).splitlines()[0]})") from error
    clip_ids = pa.concat_arrays([name.cast(pa.large_string()) for name in names])
    order = pa.compute.array_sort_indices(clip_ids)
    temporal = np.concatenate(matrices)[order]
    if not clip_ids.take(order).equals(pa.array(clips["clip_id"], pa.large_string())) or np.isnan(temporal).any():
        raise UserError(f"{run.path}: its attention is not that of all its clips and layers; record it again")
    return Alpha(clips, layers, temporal)


def read_layers(file: Path) -> pd.DataFrame:
    with file.open("rb") as opened:
        table = pq.read_table(opened, columns=LAYERS, read_dictionary=LAYERS[1:], use_threads=False).to_pandas()
    layers = table.drop_duplicates("layer_index").sort_values("layer_index", ignore_index=True)
    return layers.astype({"layer": str, "stage": str})


def read_part(file: Path, layers: NDArray[np.int64]) -> tuple[pa.Array, NDArray[np.float64]]:
    """One Parquet file: its clips, and their alpha_T at these layers (clips, L), nan where there is none."""
    columns = ["clip_id", "layer_index", "alpha_temporal"]
    with file.open("rb") as opened:  # as a dictionary, a clip's name is looked at once, not once for each layer
        table = pq.read_table(opened, columns=columns, read_dictionary=["clip_id"], use_threads=False)
    clips = table.unify_dictionaries()["clip_id"].combine_chunks()
    matrix = np.full((len(clips.dictionary), len(layers)), np.nan)
    column = np.searchsorted(layers, table["layer_index"])
    matrix[clips.indices.to_numpy(), column] = table["alpha_temporal"]
    return clips.dictionary, matrix


def by_layer(alpha: Alpha, chosen: pd.Series | list[int] | None = None) -> pd.DataFrame:
    """A row per layer, over the chosen clips (a mask, or their rows) or all.

    Returns:
        layer_index, layer, stage, n, alpha_spatial, alpha_temporal, sd (of both: they sum to 1); no row without a clip.
    """
    temporal = alpha.temporal if chosen is None else alpha.temporal[chosen]
    table = over_clips(alpha.layers, temporal).rename(columns={"mean": "alpha_temporal"})
    table.insert(4, "alpha_spatial", 1 - table["alpha_temporal"])
    return table


def over_clips(layers: pd.DataFrame, values: NDArray[np.float64]) -> pd.DataFrame:
    """The layers with n, mean and sd (0 for a single clip) of values (n, L); no row without a clip."""
    n = len(values)
    if not n:
        return layers.iloc[:0].assign(n=0, mean=np.nan, sd=np.nan)
    return layers.assign(n=n, mean=values.mean(0), sd=values.std(0, ddof=1) if n > 1 else 0.0)
