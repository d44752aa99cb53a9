# One command for each common task. `make` lists them.
#
#   make reproduce SCALE=demo CORES=8
#
# Needs only make and Python >= 3.11 with its venv module; everything else is installed into .venv from requirements.lock.

SCALE ?= smoke
CORES ?= $(shell nproc)
PYTHON ?= python3
VENV ?= .venv
# A package index with PyTorch for processors alone, such as https://download.pytorch.org/whl/cpu: saves the CUDA libraries (4 of 7 GB).
TORCH_INDEX ?=
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
CODE := mamo tests $(wildcard benchmarks)
SNAKEFILES := Snakefile $(wildcard workflow/rules/*.smk)

# Figures are drawn without a screen.
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv reproduce test lint format lock bench docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "SCALE=$(SCALE) CORES=$(CORES); scales: $(basename $(notdir $(wildcard ablations/scales/*.yaml)))"

venv: $(INSTALLED) ## Create .venv and install the locked packages and this one (again when the lock changes)

$(LOCKED): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) here. Install Python >= 3.11 (Debian: apt-get install python3 python3-venv), or name one: make venv PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1), and 3.11 or later is needed. Name one: make venv PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) lacks its venv module. Debian and Ubuntu keep it apart: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV): several GB $(if $(TORCH_INDEX),,with PyTorch's CUDA libraries, )and some minutes the first time."
	$(PYTHON) -m venv --clear $(VENV)
ifeq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
else
	@# The same versions, but PyTorch's files are not the lock's, so their hashes are not checked; CUDA libraries are left out.
	awk '/^[a-z]/ {kept = !/^(torch|torchvision|triton|(nvidia|cuda)-[a-z0-9-]+)==/} kept' requirements.lock > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) \
	    $$(sed -nE 's/^(torch|torchvision)==([0-9.]+).*/\1==\2/p' requirements.lock)
endif
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: venv ## Make the tables and figures of a SCALE
	PATH="$(CURDIR)/$(BIN):$$PATH" mamo reproduce --scale $(SCALE) --cores $(CORES)

test: venv lint ## Lint, check types, run every test
	@# A process of tests for each core; the tests of a file share fixtures. SLURM's come last: one cluster at a time on a machine.
	PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 python -m pytest -n logical --dist loadfile --no-loadscope-reorder \
	    --ignore-glob='*/test_slurm_*'
	PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 python -m pytest tests/workflow/test_slurm_*.py

lint: venv ## Ruff, mypy and snakefmt, and notebooks without outputs; changes nothing
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/nbstripout --verify notebooks/*.ipynb

format: venv ## Format the code and fix what ruff can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/snakefmt $(SNAKEFILES)

lock: venv ## Write requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra locked --extra dev --output-file requirements.lock --upgrade --quiet \
	    --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links

bench: venv ## Run every benchmark, and fill in docs/performance.md
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m benchmarks

# Not in the lock: nothing that results depend on. The API's pages are read from the source, so the package is not imported.
docs: ## Build the documentation as a site into build/site, strictly
	test -d build/docs || $(PYTHON) -m venv build/docs
	$(PYTHON) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" \
	    > build/docs/requirements.txt
	build/docs/bin/python -m pip install --quiet --disable-pip-version-check -r build/docs/requirements.txt
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --quiet --strict

clean: ## Remove caches and logs (results/ and reports/ stay)
	rm -rf .pytest_cache .mypy_cache .ruff_cache logs
	find mamo tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +
