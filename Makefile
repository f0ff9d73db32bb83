# VENV=... puts the virtual environment (5.5 GB) elsewhere; "make help" lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
RUN ?= runs/mscn_quickstart

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
REQUIREMENTS := torch libraries vissl classy-vision export tracking notebooks
REQUIREMENT_FILES := $(REQUIREMENTS:%=requirements/%.txt)
# Stamps are named after what they stand for, so that a change of it, and nothing else, installs again.
hash = $(shell cat $(1) | cksum | cut -d ' ' -f 1)
DEPENDENCIES := $(VENV)/.dependencies-$(call hash,$(REQUIREMENT_FILES))
PROJECT := $(VENV)/.project-$(shell echo $(CURDIR) | cat - setup.py pyproject.toml | cksum | cut -d ' ' -f 1)
DETECTRON2 := $(VENV)/.detectron2-$(call hash,requirements/detectron2.txt requirements/detectron2-wheel.txt)
PEERS := $(VENV)/.peers-$(call hash,requirements/benchmarks.txt)
SPHINX := $(VENV)/.sphinx-$(call hash,requirements/docs.txt)

# Two cores; a worker that has nothing left takes from the other.
PYTEST := -n 2 --dist worksteal
IN_PROCESS := not (process or new_interpreter or hydra or detectron2 or browser or slurm or gpu)

.PHONY: help demo test check lint docs chromium slurm setup gpu benchmarks notebooks clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## set up, pre-train MSCN on real photographs and write a report of it
	$(BIN)/mscn demo --output $(RUN)

# Tests start many interpreters, each of which would compile the package anew.
test check: export PYTHONDONTWRITEBYTECODE =

test: lint $(SPHINX) chromium slurm  ## set up, then lint, types and all tests, with the slowest at the end
	$(BIN)/python -m pytest $(PYTEST) --durations 25

check: lint  ## lint, types and the unit tests, in a minute: at every save
	$(BIN)/python -m pytest $(PYTEST) -q -m "$(IN_PROCESS)"

docs: setup $(SPHINX)  ## build the documentation into build/docs/index.html
	$(BIN)/python -m sphinx -q -W -c docs . build/docs

$(SPHINX): $(DEPENDENCIES)
	$(PIP) install --quiet -r requirements/docs.txt
	rm -f $(VENV)/.sphinx-*
	touch $@

# A real browser looks at the report and the documentation, where there is one or root can install it.
chromium:  ## install Debian's Chromium where there is none, as root
	@command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	    && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium > /dev/null; } \
	    || echo "No Chromium: the tests that open pages in it are skipped"

# Jobs are tested on a real SLURM of one node, whose daemons the tests start with a configuration of
# their own. Debian's would start with none, and are kept from it.
slurm:  ## install Debian's SLURM where there is none, as root
	@command -v slurmctld > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	    && apt-get update -qq && RUNLEVEL=1 apt-get install -qq -y --no-install-recommends slurm-wlm munge > /dev/null; } \
	    || echo "No SLURM: the tests of it are skipped"

lint: setup $(DETECTRON2)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(DEPENDENCIES) $(PROJECT)  ## make the virtual environment

$(DEPENDENCIES):
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), f'The pins of requirements need Python 3.11 or later (PYTHON=...), this is {sys.version}'"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements/torch.txt
	$(PIP) install --quiet -r requirements/libraries.txt
	$(PIP) install --quiet --no-deps -r requirements/vissl.txt
	$(PIP) install --quiet --no-deps --force-reinstall -r requirements/classy-vision.txt
	$(PIP) install --quiet --no-deps $(foreach part,export tracking notebooks,-r requirements/$(part).txt)
	rm -f $(VENV)/.dependencies-*
	touch $@

$(PROJECT): $(DEPENDENCIES)
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.project-*
	touch $@

# The wheel is tagged for Python 3.10, of which nothing depends, and has a top-level "tools": it lies
# behind site-packages, where VISSL's "tools" comes first.
$(DETECTRON2): $(DEPENDENCIES)
	$(PIP) install --quiet --no-deps -r requirements/detectron2.txt
	$(PIP) install --quiet --no-deps --upgrade --target $(VENV)/detectron2 --only-binary=:all: \
	    --python-version 3.10 --implementation cp --abi none --platform any \
	    -r requirements/detectron2-wheel.txt
	$(BIN)/python -c "import sysconfig, pathlib; pathlib.Path(sysconfig.get_path('purelib'), \
	    'detectron2.pth').write_text(str(pathlib.Path('$(VENV)/detectron2').resolve()))"
	rm -f $(VENV)/.detectron2-*
	touch $@

gpu: setup  ## check and measure everything on this machine's GPU, in MINUTES=5; writes docs/gpu.*
	$(BIN)/python -W ignore -m benchmarks.gpu --device cuda --minutes $(or $(MINUTES),5)

benchmarks: setup $(PEERS)  ## speed beside torchvision, kornia, OpenCV, lightly, DALI and VISSL, 25 minutes
	$(BIN)/python -W ignore -m benchmarks $(NAMES)

$(PEERS): $(DEPENDENCIES)
	$(PIP) install --quiet --no-deps -r requirements/benchmarks.txt
	rm -f $(VENV)/.peers-*
	touch $@

notebooks: setup  ## run the notebooks again, and keep what they print and draw in them
	$(BIN)/python -W ignore notebooks/execute.py

clean:  ## remove what building and testing left; runs and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find mscn_plugin benchmarks tests extra_scripts hydra_plugins -name __pycache__ -prune -exec rm -rf {} +
