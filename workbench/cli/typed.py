"""The command that runs, as it can be typed again anywhere."""

import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sth_core.network_names import NetworkName
from workbench.cli.kinds import RECIPE, URL


def command_line(**values: Any) -> str:
    """The running command with absolute paths, quoted for a shell, to be written beside its results.

    `values` are those of parameters that were not given, and without which it would not be the same elsewhere.
    """
    context = click.get_current_context()
    given = {name: value for name, value in context.params.items() if was_given(context, name)} | values
    root = context.find_root().command_path  # "sth", or "python -m workbench"
    words = ["sth", *context.command_path.removeprefix(root).split()]
    parameters = [(parameter, given[parameter.name]) for parameter in context.command.params if parameter.name in given]
    for parameter, value in sorted(parameters, key=lambda pair: isinstance(pair[0], click.Option)):
        several = parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs != 1
        texts = [word_of(parameter.type, one) for one in (value if several else [value])]
        if not isinstance(parameter, click.Option):
            words += texts
        elif parameter.is_flag:
            words += [max(parameter.opts, key=len)] * bool(value)
        else:
            words += [word for text in texts for word in option_words(max(parameter.opts, key=len), text)]
    return shlex.join(words)


def was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE


def word_of(kind: click.ParamType, value: Any) -> str:
    """A value as a word; a path is absolute, the name of a shipped recipe and a URL are not."""
    text = value.absolute().name if isinstance(value, NetworkName) else str(value)
    if not isinstance(kind, click.Path) or URL.match(text) or (kind is RECIPE and not Path(text).is_file()):
        return text
    return str(Path(text).absolute())


def option_words(option: str, value: str) -> list[str]:
    """An option and its value, as one word where the value looks like an option."""
    return [f"{option}={value}"] if value.startswith("-") else [option, value]
