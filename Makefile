# `make` lists what there is to make. All that this needs is Python 3.11 or newer and make.

PYTHON ?= python3
PYTHONS ?=
PYTEST_ARGS ?=
# Most tests wait for servers: more of them at a time than there are processors. 0 runs them one by one.
WORKERS ?= 3
DEMO_ARGS ?=

PARALLEL := -n $(WORKERS) --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed ## make .venv, with all that the work on asyncsd needs

# $(call make-venv,PYTHON,FOLDER,GROUP)
define make-venv
	@"$(1)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PYTHON=$(1) is older than 3.11")'
	"$(1)" -m venv --clear $(2)
	$(2)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(2)/bin/python -m pip install --quiet --editable . --group $(3)
	@touch $(2)/.installed
endef

$(VENV)/.installed: pyproject.toml
	$(call make-venv,$(PYTHON),$(VENV),dev)

.venv-%/.installed: pyproject.toml
	@.ci/find-python $* > /dev/null
	$(call make-venv,$$(.ci/find-python $*),.venv-$*,test)

# The demonstration needs little, and a new user doesn't want to wait.
.venv-demo/.installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PYTHON=$(PYTHON) is older than 3.11")'
	@echo "making .venv-demo, once"
	@"$(PYTHON)" -m venv --clear .venv-demo
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[cli]"
	@touch $@

.PHONY: demo
demo: .venv-demo/.installed ## see it work, in half a minute; DEMO_ARGS="--registry consul://127.0.0.1:8500": on your Consul
	@.venv-demo/bin/python examples/demo $(DEMO_ARGS)

.PHONY: test
ifeq ($(PYTHONS),)
test: $(VENV)/.installed ## run the tests; PYTHONS="3.11 3.13": on these, with real servers on the first
	$(BIN)/pytest $(PARALLEL) $(PYTEST_ARGS)
else
test: $(PYTHONS:%=test-%)

# asyncio's debugging takes two thirds of the tests' time: where there are several, the first does without.
FIRST_ARGS := $(if $(word 2,$(PYTHONS)),-o asyncio_debug=false)

$(PYTHONS:%=test-%): test-%: .venv-%/.installed
	.venv-$*/bin/pytest $(PARALLEL) $(if $(filter $*,$(firstword $(PYTHONS))),$(FIRST_ARGS),-m "not server") $(PYTEST_ARGS)
endif

# The other distribution of the import name `consul` has to do as well.
.venv-py-consul/.installed: pyproject.toml
	$(call make-venv,$(PYTHON),.venv-py-consul,test)
	@rm $@
	.venv-py-consul/bin/python -m pip uninstall --quiet --yes python-consul2
	.venv-py-consul/bin/python -m pip install --quiet "py-consul>=1.8"
	@touch $@

.PHONY: test-py-consul
test-py-consul: .venv-py-consul/.installed ## the tests of the client on consul.aio, with py-consul in its place
	.venv-py-consul/bin/pytest $(PARALLEL) -k aio -o asyncio_debug=false tests/unit/backends tests/conformance tests/consul tests/peers $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.installed ## ruff: errors, habits and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/.installed ## mypy --strict, pyright strict, and how much of the public interface is typed
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes asyncsd

BENCH_ARGS ?=
FIGURES := build/bench

.PHONY: bench
bench: $(VENV)/.installed .venv-py-consul/.installed ## every benchmark, each beside its floor and its peers; the figures as JSON go to build/bench
	@for file in benchmarks/bench_*.py; do \
	  echo "== $$file"; $(BIN)/python "$$file" --json "$(FIGURES)/$$(basename "$$file" .py).json" $(BENCH_ARGS) || exit; \
	done

.PHONY: bench-page
bench-page: $(VENV)/.installed ## put the figures of the last `make bench` into the documentation
	$(BIN)/python benchmarks/page.py $(FIGURES) docs/performance.md docs/clients.md

.PHONY: servers
servers: ## build the real servers that tests use, into the cache
	@$(PYTHON) tests/servers/install.py

.PHONY: docs
docs: $(VENV)/.installed ## see that the links and the code of the pages are good
	$(BIN)/pytest tests/test_pages.py

.PHONY: check
check: servers test lint types docs ## all that CI runs

.PHONY: clean
clean: ## remove what was made here; the servers in the cache stay
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
