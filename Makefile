# Everything a newcomer needs: `make demo` and `make test`. Both make their own virtual environment.
PYTHON ?= python3
VENV   := .venv
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check
BASE   := $(VENV)/.base-installed
DEV    := $(VENV)/.dev-installed

# $(call needs_python,PROGRAM,REMEDY): one plain sentence where that is too old, instead of what pip says of it
needs_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "spikelab needs Python 3.11 or newer, and $(1) is $$($(1) --version 2>/dev/null || echo missing); $(2)"; exit 1; }

# Tests start hundreds of interpreters, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests test-slow coverage lint format docs docs-pictures clean

demo: $(BASE)  ## simulate a recording with known neurons, sort it on the CPU, compare
	$(VENV)/bin/spikelab demo
	@echo "Next, for your own recording: '. $(VENV)/bin/activate' makes the command spikelab known in this terminal."

test: $(DEV)  ## everything CI runs; lint runs beside the tests, and its words come last
	@$(MAKE) --no-print-directory lint > $(VENV)/lint.log 2>&1 & lint=$$!; failed=0; \
	$(MAKE) --no-print-directory tests || failed=$$?; wait $$lint || failed=$$?; cat $(VENV)/lint.log; exit $$failed

tests: $(DEV)  ## without lint
	$(VENV)/bin/python -m pytest -m "not slow" -n logical --maxprocesses 8 --dist worksteal

test-slow: $(DEV)  ## minutes more, Kilosort 4 on the CPU included
	$(PIP) install -q -c constraints.txt -e ".[kilosort4]"
	$(VENV)/bin/python -m pytest -m slow

coverage: $(DEV)  ## how much of src the fast tests run: a table, and pages in htmlcov
	$(VENV)/bin/python -m pytest -m "not slow" -n logical --maxprocesses 8 --dist worksteal --cov --cov-report=term --cov-report=html

lint: $(DEV)  ## style, spelling, types and layers
	$(VENV)/bin/ruff check src tests benchmarks examples docs
	$(VENV)/bin/ruff format --check src tests benchmarks examples docs
	$(VENV)/bin/codespell src tests benchmarks examples docs .github *.md *.toml *.cff
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(DEV)
	$(VENV)/bin/ruff check --fix src tests benchmarks examples docs
	$(VENV)/bin/ruff format src tests benchmarks examples docs

docs: $(DEV)  ## write the parts of the documentation that come from the code, and build the site: docs/_build/html
	$(VENV)/bin/python -m docs._generate.settings docs/configuration.md
	$(VENV)/bin/python -m docs._generate.commands docs/commands.md
	$(VENV)/bin/python -m docs._generate.rt_sort_parameters docs/rt_sort_parameters.md
	$(VENV)/bin/python -m docs._generate.failures docs/failures.md
	$(VENV)/bin/python -m docs._generate.notebooks docs/notebooks
	$(VENV)/bin/python -m docs._generate.gallery docs/gallery
	$(VENV)/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

docs-pictures: $(DEV)  ## draw the pictures of the documentation again
	$(VENV)/bin/python -m examples.propagating_unit docs/images/propagating_unit.png
	$(VENV)/bin/python -m examples.tutorial_pictures docs/images
	$(VENV)/bin/python -m docs._generate.troubles docs/images

$(VENV)/bin/python:
	@$(call needs_python,$(PYTHON),name another one: make PYTHON=python3.12)
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(BASE): pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(call needs_python,$(VENV)/bin/python,remove the folder $(VENV) and name another one: make PYTHON=python3.12)
	$(PIP) install -q -c constraints.txt -e .
	touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(call needs_python,$(VENV)/bin/python,remove the folder $(VENV) and name another one: make PYTHON=python3.12)
	$(PIP) install -q --no-compile -c constraints.txt -e ".[dev]"
	@# pip would compile on one core; compileall does it on all. Some templates in packages are no Python.
	@$(VENV)/bin/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	touch $@ $(BASE)

clean:
	rm -rf $(VENV) demo build dist docs/_build docs/gallery docs/notebooks/*.md docs/notebooks/*.png htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache
