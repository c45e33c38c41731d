# make demo    set up, make the demo's clips and runs, serve the app
# make test    set up, run the tests but the long ones (ten minutes)
# make test-long  set up, run the long tests: whole pages in every size and theme, whole trainings (ten minutes more)
# make check   set up, then format, lint and types
# make mutants set up, make small errors in copies of the code, and count those that no test notices (an hour)
# make faults  set up, kill commands at random moments, give them bad inputs, and count what goes wrong (ten minutes)
# make docs    set up, build the documentation's site into site/, without a warning
# make docs-check  set up, run the commands again from which the numbers in docs/ come (ONLY=NAME: some of them)
# make wheel   build the package into dist/
# make setup   only set up (.venv)
#
# make test PACKAGES="--upgrade --editable .[dev]"   with the newest versions instead of those of requirements.txt

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PACKAGES := --requirement requirements.txt
ON_ALL_CORES := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-long check mutants faults docs docs-check wheel setup
.DEFAULT_GOAL := demo

demo: $(INSTALLED)
	$(BIN)/sth demo

test: $(INSTALLED)
	$(BIN)/python benchmarks/browser.py
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m "not long"
	TRITON_INTERPRET=0 $(BIN)/python -m pytest -m gpu -rs --durations 0 tests/test_gpu.py

test-long: $(INSTALLED)
	$(BIN)/python benchmarks/browser.py
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m long

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

mutants: $(INSTALLED)
	$(BIN)/sth benchmark mutants

faults: $(INSTALLED)
	$(BIN)/sth benchmark faults

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-check: $(INSTALLED)
	$(BIN)/sth benchmark docs check --only "$(ONLY)" $(if $(WORK),--work "$(WORK)")

wheel:
	python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

setup: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "STH Workbench needs Python 3.11 or newer; python3 is $$(python3 --version)"; exit 1; }
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PACKAGES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
