# The targets: demo, test, faults (one line for each promise), lint, bench, bench-all, engines, scale, spec, servers, generate, clean.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
ENGINES := build/engines
# Each test worker waits half of the time, for processes and terminals.
WORKERS := $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')

# Without compiled files, each process of the tests would compile the program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test faults lint bench bench-all engines scale spec servers generate clean

demo: $(VENV)/installed
	$(VENV)/bin/aiml chat --demo "What can you do?"
	$(VENV)/bin/aiml respond --demo "What can you do?"

# While one core checks the code, the other one compiles the tests, which each worker would do again.
test: $(VENV)/developing
	$(VENV)/bin/pytest --collect-only -q > /dev/null & \
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports; \
	checked=$$?; wait; exit $$checked
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal

faults: $(VENV)/developing
	$(VENV)/bin/pytest -m "promise and not slow" --promises

lint: $(VENV)/developing
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/mypy

bench:
	rm -rf $(BENCH) build/bench
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet .
	$(BENCH)/bin/python scripts/bench/bench.py --python $(BENCH)/bin/python
	$(BENCH)/bin/python scripts/bench/terminal.py --python $(BENCH)/bin/python
	$(BENCH)/bin/python scripts/bench/rows.py --python $(BENCH)/bin/python

# Everything slow: endless answers, hostile Markdown, a million rows, a history of 100,000 conversations, slow tests.
bench-all: bench $(VENV)/developing
	nice $(BENCH)/bin/python scripts/bench/load.py --python $(BENCH)/bin/python
	nice $(BENCH)/bin/python scripts/bench/history.py --python $(BENCH)/bin/python
	nice $(VENV)/bin/pytest -m slow --timeout 1800

# Install the engines on which scripts/scale/ runs aiml (1.2 GB). The others are Debian packages:
# apt-get install slurmctld slurmd slurm-client munge parallel openssh-server
engines:
	for engine in 'dask[distributed]' ray 'litellm[proxy]' duckdb-cli; do \
	  name=$$(echo $$engine | sed 's/\[.*//; s/-cli//'); \
	  $(PYTHON) -m venv $(ENGINES)/$$name && $(ENGINES)/$$name/bin/pip install --quiet "$$engine" || exit 1; \
	done

# Run the examples of docs/many-machines.md on real engines, and kill processes meanwhile. A script whose engine is not
# installed says so and is skipped.
scale: $(VENV)/developing
	for script in scripts/scale/run_*.py; do \
	  nice $(VENV)/bin/python $$script || [ $$? = 77 ] || exit 1; \
	done

# Download the examples of CommonMark; the tests use them if they are present.
spec:
	mkdir -p build/spec
	cd build/spec && npm pack --silent commonmark-spec@0.31.2 && tar xzf commonmark-spec-0.31.2.tgz

# Install third-party MCP servers; the tests start them if they are present. They are not dependencies of aiml.
servers:
	mkdir -p build/servers
	cd build/servers && npm install --silent --no-save --prefix . \
	  @modelcontextprotocol/server-everything@2026.8.31 @modelcontextprotocol/server-filesystem@2026.8.31
	$(PYTHON) -m venv build/servers/venv
	build/servers/venv/bin/pip install --quiet mcp-server-time==2026.10.19 mcp-server-git==2026.10.19

generate: $(VENV)/developing
	$(VENV)/bin/python scripts/generate.py

clean:
	rm -rf $(VENV) $(BENCH) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --editable .
	touch $@

$(VENV)/developing: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed
