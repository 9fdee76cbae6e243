# make demo: see it work. make test: prove it works. Each makes the virtual environment it needs.
PYTHON ?= python3
CONSTRAINTS := .ci/constraints.txt
GATEWAY := .venv-gateway
DEV := .venv

.PHONY: demo test lint format bench clean

demo: $(GATEWAY)/.installed
	$(GATEWAY)/bin/streamer demo

test: $(DEV)/.installed
	$(DEV)/bin/python -m pytest --numprocesses 2 $(PYTEST_ARGS)

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

format: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

# DATA is the folder that holds hapt.npz.
DATA ?= data
bench: $(DEV)/.installed
	$(DEV)/bin/python benchmarks/hapt_streams.py --data $(DATA)/hapt.npz

# What the gateway runs on: no torch.
$(GATEWAY)/.installed: pyproject.toml $(CONSTRAINTS) $(shell find streamer device_adapters -type f -not -name '*.pyc')
	$(PYTHON) -m venv $(GATEWAY)
	$(GATEWAY)/bin/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) .
	touch $@

# Bytecode of all that torch brings would take a third of the time, and the tests use little of it.
$(DEV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check --no-compile \
		-c $(CONSTRAINTS) -e '.[dev]'
	touch $@

clean:
	rm -rf $(GATEWAY) $(DEV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
