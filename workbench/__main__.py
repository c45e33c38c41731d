"""`python -m workbench` is the `sth` command."""

from workbench.cli import main
from workbench.parent import stop_with_parent

stop_with_parent()
main()
