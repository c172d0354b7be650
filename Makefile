# Everything sets itself up: `make demo` and `make test` need only python3 ≥ 3.11.
PYTHON ?= python3
BIN := .venv/bin
AGAIN := $(BIN)/python -m pytest --last-failed --last-failed-no-failures none
SPHINX := $(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/read

.PHONY: demo dashboard test test-all lint docs clean

demo: .venv/ready
	rm -rf runs/demo
	$(BIN)/gandask demo --store runs/demo

dashboard: .venv/ready
	mkdir -p runs
	$(BIN)/gandask dashboard runs

# what every change is tested with: minutes
test: .venv/ready lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not (deep or slurm or browser or notebook)"

# everything; those that share one Slurm go one after the other. Most are tests of real processes on
# a machine that others use too: what fails is tried once more, alone, and both logs stay
test-all: .venv/ready lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slurm" || $(AGAIN) -m "not slurm"
	$(BIN)/python -m pytest -m slurm || $(AGAIN) -m slurm

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict docs/examples/own_method.py

docs: .venv/docs
	$(BIN)/python docs/reference.py
	$(SPHINX) --fresh-env -b html docs docs/_build/html
	$(SPHINX) -b linkcheck docs docs/_build/links
	@echo docs/_build/html/index.html

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "gandask needs Python 3.11 or newer"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv
