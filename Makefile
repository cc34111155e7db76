# A fresh machine needs Python >= 3.11 and make: `make demo`, `make test`. Neither needs root; both work as root.
# More for the command: make demo ARGS="--for 60s", make test ARGS="-k pg18".

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(VENV)/bin/python -m pip install --quiet
ARGS ?=

.PHONY: help demo test e2e e2e-tryton soak bench lint clean

help:
	@echo 'make demo    the whole thing on this machine: an ERP, a shop, a business day (Ctrl-C ends it)'
	@echo 'make test    all tests, on each PostgreSQL server that is found'
	@echo 'make e2e     real storefronts from npm, installed apart and kept in ~/.cache/erpsyncd, behind a real ERP schema'
	@echo 'make e2e-tryton  business events in a real Tryton, which is installed apart and kept in ~/.cache/erpsyncd'
	@echo 'make soak    many seeded runs of faults under load: ERPSYNCD_SEEDS=2000 make soak, ERPSYNCD_SEED=17 to repeat'
	@echo 'make bench   measurements beside peers: make bench ARGS="ingest latency idle erpcost storm"'
	@echo 'make lint    style, types, direction of imports'
	@echo 'make clean   remove what the others made'

demo: $(VENV)/.installed
	@exec $(VENV)/bin/erpsyncd demo $(ARGS)

test: $(VENV)/.installed
	@exec $(VENV)/bin/python -m pytest $(ARGS)

e2e: $(VENV)/.installed
	@exec $(VENV)/bin/python -m tests.e2e.stores $(ARGS)

e2e-tryton: $(VENV)/.installed
	@exec $(VENV)/bin/python -m tests.e2e.tryton $(ARGS)

soak: export ERPSYNCD_SEEDS ?= 2000
soak: $(VENV)/.installed
	@exec $(VENV)/bin/python -m pytest -q -s tests/faults/test_seeded_runs.py $(ARGS)

bench: $(VENV)/.installed
	@$(PIP) -e '.[bench]'
	@exec $(VENV)/bin/python -m benchmarks $(ARGS)

lint: $(VENV)/.linters
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; name it by make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'Making $(VENV) ...'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The venv module is needed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo 'Installing erpsyncd into $(VENV) ...'
	@$(PIP) -e '.[demo,test]'
	@touch $@

$(VENV)/.linters: $(VENV)/.installed
	@$(PIP) -e '.[demo,test,lint]'
	@touch $@
