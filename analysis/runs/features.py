"""The features before the classifier that `sth record --features` keeps: neighbours, and a map of all clips."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.runs.run_directory import Run, clips_of, read_shards
from sth_core.errors import UserError
from sth_core.shards import shards

PCA, TSNE = MAPS = ("PCA", "t-SNE")
MOST_TSNE = 5000  # clips; more take minutes
NO_FEATURES = (
    "This run has no features. To see its clips as a map, record it with `--features`: "
    "`sth record NETWORK --data DIR -o RUN --features`."
)
FEWEST = 3  # clips of which a map can be made


@dataclass(frozen=True)
class Features:
    """`clips` as in `clips_of`, those that have features, and their `matrix` (N, F)."""

    clips: pd.DataFrame
    matrix: Float[np.ndarray, "N F"]


def has_features(run: Run) -> bool:
    return bool(shards(run.path, "features"))


def read_features(run: Run) -> Features:
    """The features of a run. Raises UserError: it has recorded none, or they cannot be read."""
    parts = [table.to_pandas() for _, table in read_shards(run, "features", ("clip_id", "features"), ())]
    by_clip = pd.concat(parts).set_index("clip_id")["features"]
    clips = clips_of(run)
    clips = clips[clips["clip_id"].isin(by_clip.index)].reset_index(drop=True)
    rows = [np.asarray(row, np.float32) for row in by_clip[clips["clip_id"]]]
    if len({len(row) for row in rows}) != 1:
        raise UserError(f"{run.path}: its features are of several lengths; record it again")
    return Features(clips, np.stack(rows))


def map_of_clips(features: Features, kind: str = PCA, seed: int = 0) -> Float[np.ndarray, "N 2"]:
    """A point for each clip: clips with near features lie near each other.

    PCA: the two directions in which the features differ most; distances on it are never larger than the true ones.
    t-SNE (van der Maaten and Hinton 2008): keeps neighbours, but neither distances nor the sizes of groups.
    Raises UserError: too few clips, or too many for t-SNE.
    """
    from sklearn import decomposition, manifold

    n = len(features.clips)
    if n < FEWEST:
        raise UserError(f"a map needs at least {FEWEST} clips with features; this run has {n}")
    if kind == PCA:
        return np.asarray(decomposition.PCA(2, svd_solver="full").fit_transform(features.matrix))
    if n > MOST_TSNE:
        raise UserError(f"t-SNE of {n:,} clips takes minutes; it is made of up to {MOST_TSNE:,}. Choose PCA")
    found = manifold.TSNE(2, perplexity=min(30.0, (n - 1) / 3), random_state=seed)
    return np.asarray(found.fit_transform(features.matrix))


def features_of_clip(features: Features, clip_id: str) -> Float[np.ndarray, " F"]:
    """Raises UserError: the clip has none."""
    own = (features.clips["clip_id"] == clip_id).to_numpy()
    if not own.any():
        raise UserError(f"{clip_id} has no features in this run")
    return np.asarray(features.matrix[own][0])


def similar_by_features(features: Features, clip_id: str, count: int = 8) -> pd.DataFrame:
    """The other clips whose features are nearest to this clip's, as `nearest_clips`. Raises UserError: it has none."""
    return nearest_clips(features, features_of_clip(features, clip_id), count, without=clip_id)


def nearest_clips(
    features: Features, own: Float[np.ndarray, " F"], count: int = 8, *, without: str = ""
) -> pd.DataFrame:
    """The clips, except the one named, whose features are nearest to these: clip_id, and distance, 1 - cosine
    similarity; 1 where either is zero. Raises UserError: they are of another length."""
    if features.matrix.shape[1:] != own.shape:
        raise UserError(f"features of {len(own)} and of {features.matrix.shape[1]} values cannot be compared")
    lengths = np.linalg.norm(features.matrix, axis=1) * np.linalg.norm(own)
    table = pd.DataFrame({
        "clip_id": features.clips["clip_id"], "distance": 1 - features.matrix @ own / np.maximum(lengths, 1e-12)
    })  # fmt: skip
    return table[table["clip_id"] != without].nsmallest(count, "distance").reset_index(drop=True)
