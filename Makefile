# Everything starts from Python >= 3.10 and this repository; the virtual environment is made here.
PYTHON ?= python3
VENV ?= .venv
BIN = $(CURDIR)/$(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
# What an installation is made of: an editable one compiles the scanner in place.
BUILD = pyproject.toml setup.py curriculum/scanner/scanner.c
# How long make fuzz takes.
FUZZ_SECONDS ?= 60

# As many processes as there are cores, but not more than pay off. SPREAD= makes it one.
SPREAD ?= -n auto --maxprocesses 8 --dist worksteal
ALL_TESTS = $(BIN)/python -m pytest -q $(SPREAD)

.PHONY: help demo quick test engines test-verl verl-environments test-browser check torture fuzz bench format golden clean

help:
	@echo "make demo    the main job on sample rollouts, in ./demo"
	@echo "make quick   the tests that take a minute together"
	@echo "make test    all tests"
	@echo "make engines  what the tests of Ray and of object stores need; make test has them then"
	@echo "make test-verl  what the scripts write, read by the real verl (2 GB of packages)"
	@echo "make test-browser  the pages in a real browser (needs Chromium and its chromedriver)"
	@echo "make check   format, lint, types, imports, the shell scripts, then all tests"
	@echo "make torture  both scripts killed, out of disk and fed broken lines, many times"
	@echo "make fuzz    the scanner fed what libFuzzer makes up, for a minute (FUZZ_SECONDS=60)"
	@echo "make bench   ours beside what a user would write instead, on 1 GB that it makes"
	@echo "make format  put the code into its format"
	@echo "make golden  write the help texts in tests/golden anew"
	@echo "make clean   remove what these commands made"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.test: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable '.[test]'
	@touch $@

$(VENV)/.engines: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable '.[engines]'
	@touch $@

$(VENV)/.browser: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable '.[browser]'
	@touch $@

$(VENV)/.dev: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(BUILD) | $(VENV)/bin/python
	$(PIP) install --editable '.[bench]'
	@touch $@

$(VENV)-verl/.made: $(BUILD) tests/real_verl/requirements.txt
	$(PYTHON) -m venv $(VENV)-verl
	$(CURDIR)/$(VENV)-verl/bin/python -m pip --disable-pip-version-check --quiet install --no-compile \
		--editable '.[test]' -r tests/real_verl/requirements.txt
	@touch $@

$(VENV)-datasets/.made: tests/real_verl/requirements-old-datasets.txt
	$(PYTHON) -m venv $(VENV)-datasets
	$(CURDIR)/$(VENV)-datasets/bin/python -m pip --disable-pip-version-check --quiet install --no-compile \
		-r tests/real_verl/requirements-old-datasets.txt
	@touch $@

demo: $(VENV)/.run
	@PYTHON=$(VENV)/bin/python bash examples/demo.sh

quick: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not slow" $(TESTS)

test: $(VENV)/.test
	$(ALL_TESTS)

engines: $(VENV)/.engines

verl-environments: $(VENV)-verl/.made $(VENV)-datasets/.made

# Other people's packages warn of this and that, which is not ours to fix.
test-verl: verl-environments
	$(CURDIR)/$(VENV)-verl/bin/python -W ignore -c 'import verl'
	OLD_DATASETS_PYTHON=$(CURDIR)/$(VENV)-datasets/bin/python \
		$(CURDIR)/$(VENV)-verl/bin/python -m pytest -q -W ignore tests/real_verl

test-browser: $(VENV)/.browser
	$(BIN)/python -m pytest -q tests/pages/test_browser.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck run_curriculum_pipeline.sh docs/draw_pictures.sh examples/demo.sh \
		examples/verl/train.sh .ci/run
	$(ALL_TESTS)

torture: $(VENV)/.test
	$(BIN)/python -m tests.torture

fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/.test
	$(BIN)/python -m tests.golden

clean:
	rm -rf $(VENV) $(VENV)-verl $(VENV)-datasets demo build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		curriculum/scanner/*.so
