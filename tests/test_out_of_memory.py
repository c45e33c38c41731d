"""A network that does not fit into memory is one sentence; the largest batch that fits is found."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sth_core.distributed import own_gpu
from sth_core.errors import UserError
from sth_core.network import VideoNetwork
from sth_core.out_of_memory import (
    MOST_VIEWS,
    fewer_views,
    fitting_batch,
    is_out_of_memory,
    largest_batch,
    saying_out_of_memory,
)
from tests.test_cli import RECIPE, ends_well, mistake
from tests.tiny import RGB, copy_clips, listed_clips, write_moving_video

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")
FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.18 GiB"


@pytest.fixture(scope="module")
def few(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_clips(scenes_folder, tmp_path_factory.mktemp("clips") / "few", 2)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError(FULL), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_the_memory_is_full(error: Exception, full: bool) -> None:
    assert is_out_of_memory(error) == full
    with pytest.raises(UserError if full else type(error)), saying_out_of_memory(CPU, lambda: "x"):
        raise error


@pytest.mark.parametrize(
    ("size", "precision", "auto", "sentence"),
    [
        (8, "fp32", False, "8 views at once do not fit; try --batch-size 4 or --precision bf16"),
        (8, "tf32", True, "8 views at once do not fit; try --batch-size 4 or --batch-size auto or --precision bf16"),
        (3, "fp16", False, "3 views at once do not fit; try --batch-size 1"),
        (1, "fp32", True, "a single view does not fit; try --precision bf16"),
        (1, "bf16", True, "a single view does not fit; try a device with more memory, such as --device cpu"),
    ],
)
def test_only_what_can_help_is_named(size: int, precision: str, auto: bool, sentence: str) -> None:
    assert fewer_views(size, precision, auto=auto) == sentence


@pytest.mark.parametrize("most", [1, 2, 37, 64])
def test_the_largest_batch_is_found_in_few_tries(most: int) -> None:
    for room in range(most + 3):
        tried: list[int] = []

        def fits(count: int, room: int = room, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count <= room

        assert largest_batch(fits, most) == min(room, most)
        assert len(set(tried)) == len(tried) <= 2 * most.bit_length() + 1 and max(tried) <= most


def network_with_room(room: int, error: Exception, device: torch.device = ELSEWHERE) -> Any:
    """A network that takes at most so many views at once."""

    def forward(views: Tensor) -> None:
        assert views.shape[1:] == (4, 3, 40, 40) and views.device == device
        if len(views) > room:
            raise error

    return SimpleNamespace(parameters=lambda: iter([torch.empty(0, device=device)]), forward_with_attention=forward)


@pytest.mark.parametrize("room", [1, 5, 37, MOST_VIEWS, 2 * MOST_VIEWS])
def test_the_largest_batch_of_a_network_is_tried(room: int) -> None:
    for error in (torch.OutOfMemoryError(FULL), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")):
        assert fitting_batch(network_with_room(room, error), RGB, 40) == min(room, MOST_VIEWS)
    assert fitting_batch(network_with_room(room, MemoryError(), CPU), RGB, 40) == 8


def test_no_batch_fits_or_the_network_has_another_fault() -> None:
    with pytest.raises(UserError, match=r"memory of meta is full: a single view does not fit; try --precision bf16"):
        fitting_batch(network_with_room(0, torch.OutOfMemoryError(FULL)), RGB, 40)
    with pytest.raises(RuntimeError, match="another"):
        fitting_batch(network_with_room(3, RuntimeError("another")), RGB, 40)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Networks take at most so many clips at once; the sizes of the batches that they were given."""

    def give(most: int) -> list[int]:
        sizes: list[int] = []
        whole = VideoNetwork.forward

        def forward(self: VideoNetwork, clips: Tensor, *rest: Any) -> Tensor:
            sizes.append(len(clips))
            if len(clips) > most:
                raise torch.OutOfMemoryError(FULL)
            return whole(self, clips, *rest)

        monkeypatch.setattr(VideoNetwork, "forward", forward)
        return sizes

    return give


@pytest.mark.parametrize("command", ["record", "evaluate", "probe", "intervene", "trust"])
def test_each_command_says_in_one_sentence_what_does_not_fit(command, checkpoint, few, tmp_path, room) -> None:
    words = (command, checkpoint, "--data", few, "--device", "cpu", "-o", tmp_path / "out", "--batch-size", 2)
    if command in ("probe", "intervene"):
        ends_well("record", *words[1:-2])
    room(1)
    auto = " or --batch-size auto" * (command in ("record", "evaluate"))
    ways = f"2 views at once do not fit; try --batch-size 1{auto} or --precision bf16"
    assert mistake(*words) == f"sth: the memory of cpu is full: {ways}\n"


def test_cam_says_that_a_clip_does_not_fit(checkpoint, tmp_path, room) -> None:
    room(0)
    said = mistake(
        "cam", checkpoint, write_moving_video(tmp_path / "v.mp4"), "-o", tmp_path / "x.mp4", "--device", "cpu"
    )
    assert said == "sth: the memory of cpu is full: one clip does not fit; try --precision bf16 or --device cpu\n"


def test_a_step_that_does_not_fit_is_taken_in_parts(scenes_folder, tmp_path, room) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    sizes, data = room(8), listed_clips(scenes_folder, tmp_path / "data", train=16, val=4)
    words = ("train", tmp_path / "recipe.toml", "--data", data, "--device", "cpu", "-o", tmp_path / "out")
    changes = ("--set", "optimisation.batch_size=16", "--set", "optimisation.epochs=1")
    assert mistake(*words, *changes) == (
        "sth: the memory of cpu is full: 16 clips at once do not fit; try --resume with --set "
        "optimisation.accumulate=2 (the same step in smaller parts) or --set optimisation.precision=bf16, or a smaller "
        "optimisation.batch_size (now 16) in another folder; nothing was saved yet\n"
    )
    ends_well(*words, *changes, "--resume", "--set", "optimisation.accumulate=2")
    assert sizes[:3] == [16, 8, 8]
    room(0)
    said = mistake(*words[:-1], tmp_path / "other", *changes[2:], "--set", "optimisation.batch_size=1")
    assert "1 clip does not fit; try --resume with --set optimisation.precision=bf16, or a smaller network in" in said


def test_auto_is_the_batch_that_fits(checkpoint, few, tmp_path, room, monkeypatch) -> None:
    monkeypatch.setattr("analysis.runs.recording.fitting_batch", lambda *_: 2)
    sizes = room(2)
    said = ends_well("record", checkpoint, "--data", few, "-o", tmp_path / "run", "--batch-size", "auto", "--clips", 5)
    assert "batches of 2 views" in said and sizes == [2, 2, 1] * 2  # the five clips of a video are split too
    monkeypatch.undo()
    assert "batches of 8 views" in ends_well(
        "evaluate", checkpoint, "--data", few, "-o", tmp_path / "other", "--batch-size", "auto", "--device", "cpu"
    )
    for command, size in (("record", "most"), ("record", "0"), ("probe", "auto")):
        assert "--batch-size" in mistake(command, checkpoint, "--data", few, "-o", tmp_path / "x", "--batch-size", size)


@pytest.mark.parametrize(
    ("device", "processes", "gpus", "expected"),
    [
        ("cuda", 2, 2, "cuda:1"),
        ("auto", 2, 2, "cuda:1"),
        ("auto", 2, 0, "auto"),
        ("cpu", 9, 2, "cpu"),
        (
            "cuda",
            4,
            1,
            "torchrun started 4 processes on this machine, which has 1 GPU; give torchrun --nproc-per-node 1, or",
        ),
        (
            "auto",
            3,
            2,
            "started 3 processes on this machine, which has 2 GPUs; give torchrun --nproc-per-node 2, or --device cpu",
        ),
        ("cuda:1", 2, 2, "torchrun started 2 processes for the one GPU cuda:1; give --device cuda"),
    ],
)
def test_each_process_of_torchrun_has_a_gpu_of_its_own(device, processes, gpus, expected, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setitem(os.environ, "LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setitem(os.environ, "LOCAL_RANK", "1")
    if " " not in expected:
        assert own_gpu(device) == expected
        return
    with pytest.raises(UserError, match=expected):
        own_gpu(device)
