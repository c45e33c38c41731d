"""The accuracy of several processes, each with its share of the clips: by hand, against three that run as threads."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
import torch

from sth_core import evaluation
from sth_core.datasets.clips import EvaluationClips, Sample
from sth_core.distributed import SINGLE_PROCESS, DistributedContext
from sth_core.evaluation import Accuracy, BatchResult, accuracy
from sth_core.stopping import Interrupted
from tests.tiny import RGB, tiny_network

CLASSES = ["a", "b"]
# (label, what is predicted or "" for a clip that cannot be read): of five that count, two are right.
CLIPS = [("a", "a"), ("a", "b"), ("x", "a"), ("b", ""), ("b", "b"), ("", "b"), ("b", "a"), ("a", "b"), ("x", "")]


@dataclass
class Shared:
    """What the threads have brought, and where they wait for one another."""

    barrier: threading.Barrier
    brought: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ThreadContext(DistributedContext):
    shared: Shared

    def gather(self, value: Any) -> list[Any]:
        self.shared.barrier.wait(120)
        self.shared.brought[self.rank] = value
        self.shared.barrier.wait(120)
        return [self.shared.brought[rank] for rank in range(self.world)]

    def total(self, *values: float) -> list[float]:
        return [sum(of_all) for of_all in zip(*self.gather(values), strict=True)]


def a_table(clips: list[tuple[str, str]]) -> pd.DataFrame:
    columns = {"path": "", "flow": "", "backward": False, "segment": "", "predicted": [p for _, p in clips]}
    problem = ["" if predicted else f"c{i} is damaged" for i, (_, predicted) in enumerate(clips)]
    names = [f"c{i}" for i in range(len(clips))]
    return pd.DataFrame({"clip_id": names, "label": [label for label, _ in clips], "problem": problem} | columns)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips that were run over, in any order; a clip's prediction stands in for the network's."""
    seen: list[str] = []

    def run_over(model: object, clips: EvaluationClips, *_: object, **__: object) -> Iterator[BatchResult]:
        for start in range(0, len(clips), 2):
            rows = range(start, min(start + 2, len(clips)))
            seen.extend(clips.rows[row]["clip_id"] for row in rows)
            samples = [
                Sample(row, None, clips.numbers.get(clips.rows[row]["label"], -1), torch.zeros(0).numpy(), problem)
                for row in rows
                for problem in [clips.rows[row]["problem"]]
            ]
            readable = [s for s in samples if not s.failure]
            predicted = [CLASSES.index(PREDICTED[clips.rows[s.row]["clip_id"]]) for s in readable]
            logits = torch.nn.functional.one_hot(torch.tensor(predicted, dtype=torch.int64), 2).float()[:, None]
            yield BatchResult(readable, [s for s in samples if s.failure], logits, {})

    monkeypatch.setattr(evaluation, "run_over", run_over)
    return seen


PREDICTED = {f"c{i}": predicted for i, (_, predicted) in enumerate(CLIPS)}


def of_processes(world: int, clips: list[tuple[str, str]]) -> list[Accuracy]:
    shared, model = Shared(threading.Barrier(world)), tiny_network()
    contexts = [ThreadContext(rank, world, torch.device("cpu"), shared) for rank in range(world)]
    data = EvaluationClips(a_table(clips), CLASSES, RGB)
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(lambda context: accuracy(model, data, RGB, context), contexts))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 12])
def test_all_processes_have_the_accuracy_of_all_clips(world: int, evaluated: list[str]) -> None:
    failures = {"c3": "c3 is damaged", "c8": "c8 is damaged"}
    for found in of_processes(world, CLIPS):
        assert (found.share, found.clips, found.failures) == (2 / 5, 5, failures)
    assert sorted(evaluated) == [f"c{i}" for i in range(9)]  # each clip once, by one process


def test_no_clip_that_counts_has_no_accuracy(evaluated: list[str]) -> None:
    for found in of_processes(2, CLIPS[2:4]):
        assert math.isnan(found.share) and found.clips == 0 and found.failures == {"c1": "c1 is damaged"}


def test_a_process_that_was_asked_to_stop_stops_all_after_a_batch(evaluated, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "stop_requested", lambda: True)
    monkeypatch.setattr("sth_core.distributed.stop_requested", lambda: True)
    with pytest.raises(Interrupted):
        of_processes(2, CLIPS)
    assert len(evaluated) == 4
    data = EvaluationClips(a_table(CLIPS), CLASSES, RGB)
    assert accuracy(tiny_network(), data, RGB, SINGLE_PROCESS).clips == 5  # it alone is stopped by the signal itself
