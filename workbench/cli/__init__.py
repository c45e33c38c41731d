"""The `sth` command. Each of its commands has a file in this folder, which is imported when the command is used."""

import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from sth_core.errors import UserError
from sth_core.files import system_sentence
from sth_core.stopping import REQUEST, hear_signals, stop_pools, stop_requested
from workbench.cli.terminal import say

COMMANDS = (
    "app", "benchmark", "cam", "complexity", "data", "demo", "doctor", "evaluate", "figures", "fuse", "import",
    "import-predictions", "intervene", "notes", "probe", "record", "report", "results", "study", "train",
    "trust", "views",
)  # fmt: skip
UTF8_MODE = "PYTHONUTF8"
RESUMED = ("data", "demo", "evaluate", "intervene", "probe", "record", "study", "train", "trust")


class LazyGroup(click.Group):
    """A group whose command NAME is `NAME_command` of workbench/cli/NAME.py, with _ for each -."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        file = "import_weights" if name == "import" else name.replace("-", "_")  # "import" is a Python keyword
        command: click.Command = getattr(import_module(f"workbench.cli.{file}"), f"{file}_command")
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command with UTF-8 file names, and with output that no character can stop."""
        if sys.getfilesystemencoding() != "utf-8" and os.environ.get(UTF8_MODE) != "1":
            os.environ[UTF8_MODE] = "1"  # which child processes inherit
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        """Print a user's mistake as one sentence and exit with 2 (with STH_DEBUG: raise it).

        After Ctrl-C exit with 130, after SIGTERM with 143.
        """
        with hear_signals(say_stopping, ends_process=True):
            try:
                return super().invoke(context)
            except (Exception, KeyboardInterrupt) as error:
                if stop_requested() or isinstance(error, KeyboardInterrupt):  # which a library may have replaced
                    hint = "; the same command continues from here" if context.invoked_subcommand in RESUMED else ""
                    say(f"sth: stopped{hint}", err=True)
                    sys.exit(128 + (REQUEST.number or signal.SIGINT))
                if not (sentence := mistake(error)) or os.environ.get("STH_DEBUG"):
                    raise
                say(f"sth: {sentence}", err=True)
                sys.exit(2)


def mistake(error: BaseException) -> str:
    """The sentence about what the user or the system did not allow; empty for errors of another kind."""
    if isinstance(error, BrokenPipeError | NoArgsIsHelpError):  # what click ends without a word, or with the help
        return ""
    if isinstance(error, click.UsageError):
        names = [context.info_name or "" for context in contexts_of(error.ctx)]
        return f"{error.format_message().rstrip('.')}; see {' '.join(['sth', *names])} --help"
    if isinstance(error, OSError):
        return system_sentence(error)
    return str(error) if isinstance(error, UserError) else ""


def contexts_of(context: click.Context | None) -> list[click.Context]:
    """The contexts of the commands that were named, without that of `sth` itself."""
    if context is None or context.parent is None:
        return []
    return [*contexts_of(context.parent), context]


def say_stopping() -> None:
    """Said as soon as the signal comes; what runs may need a moment to end."""
    if os.environ.get("RANK", "0") == "0":
        click.echo("\nsth: stopping ... (a second Ctrl-C ends it at once)", err=True)
    stop_pools()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sth-workbench")
def main() -> None:
    """STH Workbench: spatio-temporal hybrid convolution, and tools to look inside video networks."""
