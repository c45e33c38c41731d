"""Processes that begin at once: they are forked from one that has imported PyTorch and the `sth` command."""

import faulthandler
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch

from workbench.cli import main

FORKS = get_context("forkserver")
COMMANDS = ["workbench.cli.record", "workbench.cli.train", "analysis.report.training_curves"]
FORKS.set_forkserver_preload([__name__, "pytest", "torch._dynamo", "torch.utils.tensorboard", *COMMANDS])
ROOT = Path(__file__).parent.parent


class Forked:
    """A process that makes one call; as a block, it has ended when the block ends."""

    def __init__(self, call: Callable[..., object], *arguments: object, **environment: str) -> None:
        self.output = NamedTemporaryFile("r")  # noqa: SIM115
        here = (self.output.name, os.environ | environment)
        self.process = FORKS.Process(target=begin, args=(*here, call, *arguments))
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def code(self) -> int | None:
        """As of `subprocess`: None while it runs, negative if a signal ended it."""
        return self.process.exitcode

    @property
    def said(self) -> str:
        """What it wrote to its output and to that of errors."""
        return Path(self.output.name).read_text(encoding="utf-8")

    def wait(self, seconds: float = 300) -> "Forked":
        self.process.join(seconds)
        return self

    def wait_until(self, holds: Callable[[], object]) -> None:
        while not holds():
            assert self.code is None, self.said
            time.sleep(0.01)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()


def begin(output: str, environment: dict[str, str], call: Callable[..., object], *arguments: object) -> None:
    """In the new process."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in a shell's background ignore Ctrl-C
    torch.set_num_threads(1)
    faulthandler.enable()
    call(*arguments)


def ended(call: Callable[..., object], *arguments: object, **environment: str) -> Forked:
    """The process, once it has ended."""
    with Forked(call, *arguments, **environment) as process:
        return process.wait()


def sth(*words: object) -> None:
    """`sth WORDS` in this process, which it ends."""
    main([str(word) for word in words])


def sth_by_two(*words: object) -> list[Forked]:
    """`sth WORDS` by two processes that are one group, as torchrun tells them; once both have ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    with ExitStack() as both:
        ranks = [both.enter_context(Forked(sth, *words, RANK=r, LOCAL_RANK=r, **group)) for r in ("0", "1")]
        return [rank.wait() for rank in ranks]
