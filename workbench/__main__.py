"""`python -m workbench` is the `sth` command."""

from workbench.start import leave_out_working_folder, start

leave_out_working_folder()
start()
