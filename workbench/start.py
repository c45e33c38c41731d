"""The first thing that `sth` and `python -m workbench` do: see that the packages are those beside this one.

A folder of the user's may have an `analysis` of its own. It imports nothing of the project at the top.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

OURS = ("sth_core", "analysis")
HOME = Path(__file__).resolve().parents[1]


def start() -> None:
    """Run the command."""
    leave_out_working_folder()
    if sentence := foreign_package():
        print(f"sth: {sentence}", file=sys.stderr)
        sys.exit(2)
    from workbench.cli import main
    from workbench.parent import stop_with_parent

    stop_with_parent()
    main()


def leave_out_working_folder() -> None:
    """`python -m` looks for packages in the working folder first, the command `sth` does not: here neither does."""
    if sys.path and not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()) and Path.cwd() != HOME:
        del sys.path[0]


def foreign_package() -> str:
    """Which of our packages Python would take from elsewhere, in a sentence; empty if none."""
    for name in OURS:
        spec = find_spec(name)
        found = [*(spec.submodule_search_locations or [spec.origin])] if spec else []
        if not found or Path(str(found[0])).resolve() != HOME / name:
            return (
                f"Python finds the package {name} in {found[0] if found else 'no folder'}, not in {HOME / name}; take that "
                "folder out of PYTHONPATH, or rename what is in it"
            )
    return ""
