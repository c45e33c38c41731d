"""`python -m workbench` is the `sth` command."""

from workbench.start import start

start()
