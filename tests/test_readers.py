"""What workers read: the same clips in the same order, however many there are, as threads or as processes."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from sth_core import readers, training
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.readers import Readers, pick_readers, usable_cores
from sth_core.recipe import load_recipe
from sth_core.staging import stack_on
from sth_core.stopping import Interrupted
from sth_core.training import Progress, train
from sth_core.video.sampling import Protocol
from tests.forked import FORKS
from tests.test_stop_and_go import RECIPE, same
from tests.tiny import RGB, listed_clips, one_torch_thread

WAYS = [(2, False), (2, True), (4, True)]


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """The processes are forked from the one that has imported PyTorch for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "reading_context", lambda: FORKS)
        yield


@pytest.fixture(scope="module")
def table(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Six clips to train on and four to test with; one of each cannot be read."""
    folder = listed_clips(scenes_folder, tmp_path_factory.mktemp("readers") / "data", train=6, val=4)
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video")
    table = read_dataset(folder, load_annotation())
    table.loc[[1, 8], "path"] = str(broken)
    return table


def load_annotation() -> Any:
    from sth_core.datasets.table import Annotation

    return Annotation(label="motion")


def training_clips(table: pd.DataFrame) -> TrainClips:
    some = table[table["split"] == "train"]
    return TrainClips(some, sorted(set(some["label"])), RGB, Augment(crop_scales=(1.0, 0.9), flip=True))


def all_read(table: pd.DataFrame, by: Readers) -> tuple[list[Any], dict[str, str], list[Any]]:
    """Two epochs of training clips and what could not be read, and the views to test with, all copied."""
    clips, some = training_clips(table), table[table["split"] == "val"]
    tested = EvaluationClips(some, clips.classes, RGB, Protocol(2, 3))
    with by:
        wanted = [(row, [7, epoch, row]) for epoch in (0, 1) for row in clips.rows]
        drawn = [one and (one[0].copy(), one[1]) for one in clips.read_ahead(wanted, by, ahead=3, held=1)]
        views = [(s.row, s.label, s.failure, s.views if s.views is None else s.views.clone(), s.frame_indices.copy())
                 for s in tested.read_ahead(by, ahead=2)]  # fmt: skip
    return drawn, clips.failures, views


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert np.array_equal(a, b) if isinstance(a, np.ndarray | torch.Tensor) else a == b


@pytest.mark.parametrize(("workers", "processes"), WAYS)
def test_the_same_clips_in_the_same_order_whoever_reads_them(workers, processes, table) -> None:
    alone = all_read(table, Readers(0))
    drawn, failures, views = alone
    assert [one is None for one in drawn] == 2 * [False, True, False, False, False, False]
    assert len(failures) == 1 and "not a video that can be decoded" in next(iter(failures.values()))
    assert [failure != "" for _, _, failure, _, _ in views] == [False, False, True, False]
    assert_equal(all_read(table, Readers(workers, processes, streams=2)), alone)


def squares(numbers: int) -> np.ndarray:
    return np.arange(numbers) ** 2


@pytest.mark.parametrize(
    ("size", "streams"),
    [(0, 1), (10_000, 3), *(pytest.param(size, 1, marks=pytest.mark.long) for size in (80, 10_000))],
)
def test_arrays_that_do_not_fit_into_shared_memory_are_sent(size: int, streams: int) -> None:
    with Readers(1, True, streams) as by:
        results = [by.ahead(squares, [3, 1000, 0, 20], ahead=1, held=4, size=size) for _ in range(3)]
        for at_the_same_time in zip(*results, strict=True):
            assert len({len(one) for one in at_the_same_time}) == 1
            for one in at_the_same_time:
                assert np.array_equal(one, squares(len(one)))


def test_a_result_stays_until_so_many_more_were_taken() -> None:
    with Readers(2, True) as by:
        held: list[np.ndarray] = []
        for number, found in enumerate(by.ahead(squares, range(1, 60), ahead=2, held=5, size=1000)):
            held = [*held[-4:], found]
            assert all(np.array_equal(one, squares(len(one))) for one in held) and len(found) == number + 1


def end_itself(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_process_is_a_sentence_and_none_is_left() -> None:
    before = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(UserError, match=r"a process that reads clips was killed.*fewer --workers"),
        Readers(2, True) as by,
    ):
        list(by.ahead(end_itself, range(9), ahead=2))
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_an_error_is_raised_where_its_result_would_have_come() -> None:
    with Readers(2, True) as by:
        results = by.ahead((1).__floordiv__, [1, 1, 0, 1], ahead=4)
        assert [next(results), next(results)] == [1, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(
    ("device", "given", "on_this_machine", "workers", "processes"),
    [
        ("cpu", None, "", usable_cores(), False),
        ("cuda", None, "", usable_cores(), True),
        ("cuda", 3, "", 3, True),
        ("cuda", 0, "", 0, True),
        ("cuda", None, "64", 1, True),
    ],
)
def test_there_is_a_worker_for_each_core(device, given, on_this_machine, workers, processes, monkeypatch) -> None:
    if on_this_machine:  # processes of torchrun
        monkeypatch.setenv("LOCAL_WORLD_SIZE", on_this_machine)
    chosen = pick_readers(torch.device(device), given)
    assert (chosen.workers, chosen.processes) == (workers, processes)


@pytest.fixture(scope="module")
def trainings(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("trainings")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(folder / "recipe.toml", ["optimisation.epochs=2"])
    table = read_dataset(listed_clips(scenes_folder, folder / "data", train=18, val=6), recipe.data)

    def trained(name: str, by: Readers, progress: Callable[[Progress], None] = lambda _: None) -> Path:
        with pytest.MonkeyPatch.context() as patch, one_torch_thread():
            patch.setattr(training, "pick_readers", lambda *_, **__: by)
            train(recipe, table, folder / name, "cpu", progress, memory=0)
        return folder / name

    return trained


def test_a_training_that_is_resumed_with_other_workers_ends_with_the_same_network(trainings) -> None:
    whole, seen = trainings("whole", Readers(0)), list[Progress]()

    def stop(p: Progress) -> None:
        seen.append(p)
        if len([one for one in seen if one.stage == "training"]) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        trainings("resumed", Readers(2, True, 2), stop)
    assert same(trainings("resumed", Readers(2, False)), whole)
    assert all(0 <= p.waiting <= 1 for p in seen)


def test_clips_are_stacked_from_arrays_and_tensors() -> None:
    clips = [np.full((2, 3, 3, 1), i, np.uint8) for i in range(3)]
    expected = torch.from_numpy(np.stack(clips))
    assert torch.equal(stack_on(torch.device("cpu"), clips), expected)
    assert torch.equal(stack_on(torch.device("cpu"), [torch.from_numpy(clip) for clip in clips]), expected)
