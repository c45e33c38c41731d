"""The first thing that `sth` and `python -m workbench` do: see that the packages are those beside this one.

A folder of the user's may have an `analysis` of its own. It imports nothing of the project at the top.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

OURS = ("sth_core", "analysis")
HOME = Path(__file__).resolve().parents[1]


def start() -> None:
    """Run the command."""
    if sentence := foreign_package():
        print(f"sth: {sentence}", file=sys.stderr)
        sys.exit(2)
    from workbench.cli import main
    from workbench.parent import stop_with_parent

    stop_with_parent()
    main()


def leave_out_working_folder() -> None:
    """`python -m` looks for packages in the working folder first, the command `sth` does not: now neither does."""
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != HOME:
        del sys.path[0]


def foreign_package() -> str:
    """Which of our packages Python would take from elsewhere, in a sentence; empty if none."""
    for name in OURS:
        spec = find_spec(name)
        found = [*(spec.submodule_search_locations or [str(spec.origin)])] if spec else []
        if not found or Path(found[0]).resolve() != HOME / name:
            place = found[0] if found else "no folder"
            ways = "take that folder out of PYTHONPATH, or rename what is in it"
            return f"Python finds the package {name} in {place}, not in {HOME / name}; {ways}"
    return ""
