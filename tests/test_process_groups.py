"""Which process this is: alone, or under torchrun in a group that ends with the block; and what a group's processes
tell one another. No group is really made."""

import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import Tensor

from sth_core.distributed import SINGLE_PROCESS, DistributedContext, distributed_context
from sth_core.stopping import Interrupted

CPU = torch.device("cpu")
SECOND_OF_TWO = DistributedContext(1, 2, CPU)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is done with the process group, which belongs to process 1 of 2."""
    done: list[Any] = []
    stores = {"env://": torch.distributed.HashStore()}

    def begin(backend: str, **options: Any) -> None:
        options["store"].set("made by", backend)
        found = [key for key in ("made by", "attempt 3/made by") if stores["env://"].check([key])]
        done.append((backend, options["rank"], options["world_size"], options["timeout"], found))

    monkeypatch.setattr("sth_core.distributed.rendezvous", lambda url: iter([(stores[url], 1, 2)]))
    monkeypatch.setattr("sth_core.distributed.dist.init_process_group", begin)
    monkeypatch.setattr("sth_core.distributed.dist.destroy_process_group", lambda: done.append("ended"))
    monkeypatch.setattr("sth_core.distributed.torch.cuda.set_device", done.append)
    return done


@pytest.mark.parametrize(("world", "initialized"), [(None, False), ("1", False), ("2", True)])
def test_a_process_alone_or_in_a_group_already_makes_none(world, initialized, group, monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setattr("sth_core.distributed.dist.is_initialized", lambda: initialized)
    with distributed_context("cpu") as context:
        assert context == DistributedContext(0, 1, CPU) == SINGLE_PROCESS and context.is_main
    assert group == []


def test_the_device_is_chosen_if_none_is_given(group, monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("sth_core.distributed.pick_device", {"auto": CPU}.get)
    with distributed_context() as context:
        assert context == SINGLE_PROCESS


@pytest.mark.parametrize(("nodes", "key"), [(None, "made by"), ("2", "made by"), ("1", "attempt 3/made by")])
@pytest.mark.parametrize(("device", "expected", "begun"), [("cpu", CPU, []), ("cuda", torch.device("cuda", 3), [3])])
def test_under_torchrun_a_process_belongs_to_the_group_until_the_block_ends(
    device, expected, begun, nodes, key, group, monkeypatch
) -> None:
    """On one node under a name of its own in torchrun's store, for each attempt."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    if nodes:
        monkeypatch.setenv("GROUP_WORLD_SIZE", nodes)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "3")
    monkeypatch.setattr("sth_core.distributed.pick_device", torch.device)
    backend = "gloo" if device == "cpu" else "nccl"
    begun = [*(torch.device("cuda", number) for number in begun), (backend, 1, 2, timedelta(minutes=30), [key])]
    with pytest.raises(KeyboardInterrupt), distributed_context(device) as context:
        assert context == DistributedContext(1, 2, expected) and not context.is_main
        assert group == begun
        raise KeyboardInterrupt
    assert group == [*begun, "ended"]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Says what the other one of two processes brings; returns the kinds of messages that are sent from then on."""

    def brings(*, values: tuple[float, ...] = (), thing: object = None) -> list[str]:
        sent: list[str] = []

        def add(sums: Tensor) -> None:
            sent.append("sum")
            sums += torch.tensor(values, dtype=sums.dtype, device=sums.device)

        def gather(things: list[object], mine: object) -> None:
            sent.append("gather")
            things[:] = [thing, mine]
            assert len(things) == 2

        monkeypatch.setattr("sth_core.distributed.dist.all_reduce", add)
        monkeypatch.setattr("sth_core.distributed.dist.all_gather_object", gather)
        monkeypatch.setattr("sth_core.distributed.dist.barrier", lambda: sent.append("wait"))
        return sent

    return brings


def test_what_processes_bring_is_added_and_gathered(other) -> None:
    sent = other(values=(2**24, 0.5), thing={"a": 1})
    assert SECOND_OF_TWO.total(1, 2) == [2**24 + 1, 2.5]  # in double precision
    assert SECOND_OF_TWO.gather(["b"]) == [{"a": 1}, ["b"]]
    SECOND_OF_TWO.wait_for_all()
    assert sent == ["sum", "gather", "wait"]
    assert SINGLE_PROCESS.total(1, 2.5) == [1, 2.5] and SINGLE_PROCESS.gather("b") == ["b"]
    SINGLE_PROCESS.wait_for_all()
    assert len(sent) == 3


def test_sums_are_taken_on_the_device_of_the_process(monkeypatch) -> None:
    def add(sums: Tensor) -> None:
        raise KeyError(sums.device.type)

    monkeypatch.setattr("sth_core.distributed.dist.all_reduce", add)
    with pytest.raises(KeyError, match="meta"):
        DistributedContext(0, 2, torch.device("meta")).total(1.0)


@pytest.mark.parametrize(("here", "there"), [(False, 0), (True, 0), (False, 1), (True, 1)])
def test_both_processes_stop_if_one_was_asked_to(here: bool, there: float, other, monkeypatch) -> None:
    monkeypatch.setattr("sth_core.distributed.stop_requested", lambda: here)
    other(values=(there,))
    SINGLE_PROCESS.stop_together()
    if not here and not there:
        SECOND_OF_TWO.stop_together()
        return
    with pytest.raises(Interrupted) as stopped:
        SECOND_OF_TWO.stop_together()
    assert stopped.value.number == signal.SIGTERM
