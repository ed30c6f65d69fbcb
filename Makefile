# The chores. `make` alone lists them; PYTHON chooses the interpreter of a new environment:
#     make test PYTHON=python3.13 PYTEST_ARGS="-k gradients"

PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := numpy_ref torch_impl jax_impl triptych tests $(if $(wildcard benchmarks/*.py),benchmarks)

.DEFAULT_GOAL := help
.PHONY: help compare test lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

# The stamp is removed before pip runs and written after it has succeeded. Without a stamp the
# environment may be half made (a kill, a full disk), so it is made anew rather than repaired.
$(INSTALLED): pyproject.toml constraints.txt
	@if [ ! -e $@ ]; then \
		echo "==> making $(VENV) anew with $(PYTHON)"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@rm -f $@
	@echo "==> installing triptych[dev] and the versions of constraints.txt into $(VENV)"; \
		echo "    (PyTorch and JAX are large: minutes, without a cache)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

compare: $(INSTALLED) ## run the three columns, print how they agree, train on the real data
	$(BIN)/python -m triptych compare

test: $(INSTALLED) ## run the tests; PYTEST_ARGS="-x -k data" is passed on
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED) ## check style, format and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)

clean: ## remove the environment, the caches and the build outputs
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
