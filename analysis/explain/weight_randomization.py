"""Does an explanation depend on what was learnt? Weights made random, from the top down (Adebayo et al. 2018).

A map that stays as it was when the network has forgotten everything shows the picture's edges, not the network's
reasons.
"""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from scipy import stats

from sth_core.network import VideoNetwork

CLASSIFIER = "fc"


def randomized_models(model: VideoNetwork, seed: int = 0) -> Iterator[tuple[str, VideoNetwork]]:
    """Copies of the network: the first with a random classifier, each next with one more stage random, down to all.

    Random means that the entries of each weight are shuffled: they stay as large as they were. Yields the lowest
    random part's name, and the copy.
    """
    random = torch.Generator().manual_seed(seed)
    randomized = deepcopy(model).eval()
    groups: dict[str, list[torch.nn.Parameter]] = {}
    for name, weight in randomized.backbone.named_parameters():
        groups.setdefault(str(randomized.backbone.stage_of(name)), []).append(weight)
    groups[CLASSIFIER] = list(randomized.fc.parameters())
    for part, weights in reversed(groups.items()):
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=random)
            weight.data = weight.data.flatten()[order.to(weight.device)].reshape(weight.shape).contiguous()
        yield part, deepcopy(randomized)


def rank_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps or curves of the same shape; 0 if one of them is the same everywhere."""
    a, b = a.ravel(), b.ravel()
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)
