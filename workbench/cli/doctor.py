"""`sth doctor`: what is installed here, and what is missing."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from workbench.cli.terminal import say


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor_command(as_json: bool) -> None:
    """Say what is installed here, and the command that mends what is missing.

    Versions, devices, codecs, a browser for pictures, free disk, the shipped networks, optional packages. The exit code
    is 1 if something is missing that commands need; what only some of them need is a note.
    """
    from workbench.doctor import MISSING, OK, findings

    found = list(findings(Path.cwd()))
    lacking = [one for one in found if one.state == MISSING]
    if as_json:
        click.echo(json.dumps({"ok": not lacking, "findings": [asdict(one) for one in found]}, indent=2))
    else:
        width = max(len(one.what) for one in found)
        for one in found:
            say(f"{one.state:<8} {one.what:<{width}}  {one.found}")
            if one.state != OK:
                say(f"{'':<8} {'':<{width}}  -> {one.mend}")
        notes = sum(one.state not in (OK, MISSING) for one in found)
        say(f"{len(lacking)} missing, {notes} note{'s' * (notes != 1)}")
    if lacking:
        sys.exit(1)
