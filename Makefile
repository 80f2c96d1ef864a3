# make demo: install, write the demonstration data, train, show the scores. make test: install, run the quick tests.
# Both need Python >= 3.11, git and make, and cost little when run again: .venv is installed once for each
# state of pyproject.toml, constraints.txt and demo/requirements.txt, and every stage finds its result.
# Paths are relative, so that the folder may have blanks in its name.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install data demo schedule test test-more lint bench bench-check clean distclean

PYTHON := .venv/bin/python
INPUTS := pyproject.toml constraints.txt demo/requirements.txt
# A moved folder needs a new .venv too: its scripts name the old place.
STAMP := .venv/installed-$(shell { pwd -P; cat $(INPUTS); } | cksum | cut -d' ' -f1)
ARGS ?=

# Nothing here needs the network at run time, and nothing reports usage.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_LOGGING_LEVEL := CRITICAL
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@echo "make demo       install, write the demonstration data, train, show the scores"
	@echo "make schedule   look every night at what arrived, retrain when the policy says so; Ctrl-C ends it"
	@echo "make test       install, run the quick tests (ARGS='-k name' for some of them)"
	@echo "make test-more  those that take seconds to a minute; of minutes: make test ARGS='-m slow'"
	@echo "make lint       ruff, mypy, and the import contracts"
	@echo "make bench      measure speed against what people do by default, into docs/benchmarks.md"
	@echo "make bench-check the same, against the kept figures"
	@echo "make data       write data/ of the demonstration, as data.dvc says"
	@echo "make clean      remove caches and stages (.doubleroute), exported graphs and checkpoints with them; the registry stays"
	@echo "make distclean  remove .venv, data and the registry too; decisions/, requests/ and .dvc/cache stay"

install: $(STAMP)

# The first Python that is new enough, 3.11 before others because it is the tested one.
$(STAMP):
	@set -e; \
	found=; \
	for each in python3.11 python3 python3.12 python3.13 python; do \
	  if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$each; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer is needed; none of python3.11, python3 and python on PATH is." >&2; exit 1; \
	fi; \
	rm -f .venv/installed-*; \
	if ! { $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    && grep -qF "$$(pwd -P)/.venv" .venv/bin/activate; } 2>/dev/null; then \
	  $$found -m venv --clear .venv || { rm -rf .venv; \
	    echo "$$found cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	    exit 1; }; \
	fi; \
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip; \
	echo "Installing into .venv: about 3 GB and three minutes ..."
	@$(PYTHON) -m pip install -qq -c constraints.txt torch -e '.[dev]'
	@$(PYTHON) -m pip install -qq --no-deps -r demo/requirements.txt
	@touch '$@'

# `dvc commit` puts data/ into DVC's cache, without which `dvc status` is not clean. It refuses data that
# are not what data.dvc says; what to do about them is said by the train flow, which refuses them too.
data: $(STAMP)
	@$(PYTHON) demo/make_data.py
	@folder=$$(sed -n 's/^- md5: \(..\)\(.*\.dir\)$$/\1\/\2/p' data.dvc); \
	if [ -e .git ] && [ ! -e ".dvc/cache/files/md5/$$folder" ]; then \
	  $(PYTHON) -m dvc commit --quiet data.dvc </dev/null >/dev/null 2>&1 || true; \
	fi

demo: data
	@.venv/bin/doubleroute train

schedule: $(STAMP)
	@.venv/bin/doubleroute schedule $(ARGS)

test: $(STAMP)
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-more: $(STAMP)
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "costly and not slow" $(ARGS)

lint: $(STAMP)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

bench: $(STAMP)
	@$(PYTHON) benchmarks/run.py

bench-check: $(STAMP)
	@$(PYTHON) benchmarks/run.py --check

clean:
	rm -rf .doubleroute build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests demo -name __pycache__ -type d -prune -exec rm -rf {} +

# What was decided, what users asked and versions of the data that nobody pushed are in no other place: who wants to be
# rid of them removes decisions/, requests/ and .dvc/cache by hand.
distclean: clean
	rm -rf .venv data .dvc/tmp
	if [ -d mlflow ]; then find mlflow -mindepth 1 ! -name README.md -delete; fi
