"""The weight randomization test of an explanation (Adebayo et al. 2018): weights made random, from the top down.

An explanation that stays the same when all weights are random shows edges of the picture, not what the network learnt.
"""

from collections.abc import Iterator
from copy import deepcopy

import torch

from sth_core.network_contract import Network


def randomized_models(model: Network, seed: int = 0) -> Iterator[tuple[str, Network]]:
    """Copies of the network with random weights: first in the classifier alone, then in one more stage each, top down.

    The entries of each weight are shuffled, so that they keep their distribution. Yields the name of the lowest random
    stage, and the copy.
    """
    generator = torch.Generator().manual_seed(seed)
    randomized = deepcopy(model).eval()
    for stage, weights in reversed(randomized.stages().items()):
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=generator)
            weight.data = weight.data.flatten()[order.to(weight.device)].reshape(weight.shape).contiguous()
        yield stage, deepcopy(randomized)
