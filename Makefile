# The chores. `make` alone lists them; PYTHON chooses the interpreter of a new environment:
#     make test PYTHON=python3.13 PYTEST_ARGS="-k gradients"

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
RESULTS ?= build/timing
PROCESSES ?= 9
SWEPT := (SGD and not twin and not float64 and not 262144 and not 1048576 and not float32-32]) or 1000000

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs
BENCH_INSTALLED := $(VENV)/.bench-installed
BROWSER_INSTALLED := $(VENV)/.installed-browser
OLDEST := .venv-oldest
OLDEST_INSTALLED := $(OLDEST)/.installed
ORACLES := .venv-oracles
ORACLES_INSTALLED := $(ORACLES)/.installed
SPHINX := $(BIN)/python -m sphinx -q -E -W --keep-going -j auto
SOURCES := numpy_ref torch_impl jax_impl triptych tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help compare bench publish test oldest oracles docs messages browser lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

# The stamp is removed before pip runs and written after it has succeeded. Without a stamp the
# environment may be half made (a kill, a full disk), so it is made anew rather than repaired.
define install
@if [ ! -e $@ ]; then \
	echo "==> making $(@D) anew with $(PYTHON)"; \
	$(PYTHON) -m venv --clear $(@D); \
fi
@rm -f $@
@echo "==> installing $(1) and the versions of constraints.txt into $(@D)"; \
	echo "    ($(2): minutes, without a cache)"
@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(3)
endef

$(INSTALLED): pyproject.toml constraints.txt
	$(call install,triptych[dev],PyTorch and JAX are large,-e ".[dev]")
	@touch $@

$(OLDEST_INSTALLED): pyproject.toml tests/oldest.txt
	@echo "==> installing the oldest versions into $(OLDEST) (PyTorch's CUDA build: gigabytes)"
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c tests/oldest.txt -e ".[test]"
	@touch $@

# TensorFlow and what the tests of one column need, without PyTorch and JAX: three frameworks in
# one process are two too many. The package comes last and alone, or pip would fetch them for it.
$(ORACLES_INSTALLED): pyproject.toml constraints.txt
	$(call install,TensorFlow,TensorFlow is large,tensorflow-cpu pytest numpy jaxtyping annotated-types rich)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Into the same environment: the pages run the columns. A new one of `make test` starts without it.
$(DOCS_INSTALLED): $(INSTALLED)
	@rm -f $@
	@echo "==> installing triptych[docs] into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	@echo "==> installing the peers, to be measured against, into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,peers,plots]"
	@touch $@

$(BROWSER_INSTALLED): $(DOCS_INSTALLED)
	@rm -f $@
	@echo "==> installing triptych[browser] into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	@touch $@

compare: $(INSTALLED) ## run the three columns, print how they agree, train on the real data
	$(BIN)/python -m triptych compare

test: $(INSTALLED) ## run the tests; PYTEST_ARGS="-x -k data" is passed on
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Threads are a setting of the process, so the rows of one thread and of all are two runs. It is on
# one thread that rows are compared: there each has more processes.
bench: $(BENCH_INSTALLED) ## time the columns; PROCESSES=3 is quicker; BENCH_ARGS="-k SGD", RESULTS=DIR
	@rm -rf build/bench; mkdir -p build/bench $(RESULTS)
	@time="$(BIN)/python -m pytest --benchmark-only $(BENCH_ARGS)"; failed=0; \
	$$time --threads 1 --device cpu --processes $(PROCESSES) \
		--benchmark-json=build/bench/one-thread.json || failed=1; \
	$$time --benchmark-json=build/bench/all-threads.json || failed=1; \
	$(BIN)/python -m benchmarks.workers --out build/bench/workers.json || failed=1; \
	mv build/bench/*.json $(RESULTS) && \
	$(BIN)/python -m triptych report $(RESULTS)/*.json --out $(RESULTS) && exit $$failed

# Results that are committed are replaced at the end: git would call the checkout changed before.
publish: $(BENCH_INSTALLED) ## time all that benchmarks/results has anew, other batches too: half an hour and more
	@rm -rf build/published
	@$(MAKE) bench RESULTS=build/published
	@$(BIN)/python -m pytest --benchmark-only --threads 1 --device cpu --sweep --processes 3 \
		-k "$(SWEPT)" --benchmark-json=build/published/sweep.json
	@rm -f benchmarks/results/*.json && mv build/published/*.json benchmarks/results
	@$(BIN)/python -m triptych report benchmarks/results/*.json --out benchmarks/results

# Only slow tests compile with PyTorch, and what its compiler takes differs most between versions.
oldest: $(OLDEST_INSTALLED) ## run the tests on the oldest versions that are supported
	$(OLDEST)/bin/python -m pytest $(PYTEST_ARGS)
	$(OLDEST)/bin/python -m pytest -m slow tests/columns/test_execution.py $(PYTEST_ARGS)

oracles: $(ORACLES_INSTALLED) ## ask TensorFlow 1 and 2 for the documents' derivatives
	$(ORACLES)/bin/python -m pytest tests/columns/test_oracles.py $(PYTEST_ARGS)

# Read afresh each time, since a page depends on what every column computes; what was measured is
# kept in build/docs under the sources' contents.
docs: $(DOCS_INSTALLED) ## build the pages into site/, in Japanese into site/ja/
	@rm -rf site
	@$(SPHINX) -b html -d build/docs/doctrees docs site
	@$(SPHINX) -b html -D language=ja -d build/docs/doctrees-ja docs site/ja
	@echo "open file://$(CURDIR)/site/index.html"

# What is new stands in docs/locale without a Japanese text, what has changed is marked "fuzzy".
messages: $(DOCS_INSTALLED) ## bring docs/locale up to date with what the pages say
	@rm -rf build/docs/messages
	@$(SPHINX) -b gettext -d build/docs/doctrees-messages docs build/docs/messages
	@rm -r build/docs/messages/api
	@$(BIN)/python docs/_ext/words.py build/docs/messages/words.pot
	@$(BIN)/sphinx-intl update --no-obsolete -l ja -p build/docs/messages -d docs/locale

browser: $(BROWSER_INSTALLED) docs ## build the pages and test them in Chromium, which the system must have
	$(BIN)/python -m pytest -m browser tests/browser $(PYTEST_ARGS)

lint: $(DOCS_INSTALLED) ## check style, format, the direction of imports, types
	$(BIN)/ruff check $(SOURCES) docs exercises conftest.py
	$(BIN)/ruff format --check $(SOURCES) docs exercises conftest.py
	$(BIN)/lint-imports
	$(BIN)/mypy $(SOURCES) docs exercises

clean: ## remove the environments, the caches and the build outputs
	rm -rf $(VENV) $(OLDEST) $(ORACLES) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
