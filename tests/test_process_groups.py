"""Which process this is: alone, or under torchrun in a group that ends with the block. No group is really made."""

from datetime import timedelta
from typing import Any

import pytest
import torch

from sth_core.distributed import DistributedContext, distributed_context


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is done with the process group, which belongs to process 1 of 2."""
    done: list[Any] = []

    def begin(backend: str, **options: Any) -> None:
        done.append((backend, options["rank"], options["world_size"], options["timeout"]))

    monkeypatch.setattr("sth_core.distributed.rendezvous", lambda url: iter([(url, 1, 2)]))
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
        assert context == DistributedContext(0, 1, torch.device("cpu")) and context.is_main
    assert group == []


@pytest.mark.parametrize(
    ("device", "expected", "begun"), [("cpu", torch.device("cpu"), []), ("cuda", torch.device("cuda", 3), [3])]
)
def test_under_torchrun_a_process_belongs_to_the_group_until_the_block_ends(
    device, expected, begun, group, monkeypatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    monkeypatch.setattr("sth_core.distributed.pick_device", torch.device)
    backend = "gloo" if device == "cpu" else "nccl"
    begun = [*(torch.device("cuda", number) for number in begun), (backend, 1, 2, timedelta(minutes=30))]
    with pytest.raises(KeyboardInterrupt), distributed_context(device) as context:
        assert context == DistributedContext(1, 2, expected) and not context.is_main
        assert group == begun
        raise KeyboardInterrupt
    assert group == [*begun, "ended"]
