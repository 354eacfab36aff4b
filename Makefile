# Every target works from any directory (make -C PATH), in a path with spaces too:
# this file therefore uses relative paths only.
SHELL := /bin/sh
RUN := .venv/bin/python
ARGS ?=

# Another project's modules (ROS exports PYTHONPATH, for one) must not shadow ours.
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup demo test lint clean distclean

help:  ## show this list
	@echo "OddFusion: make TARGET [PYTHON=python3.12] [ARGS=...]"
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

setup:  ## create .venv and install everything, pinned (once; a repeat does nothing)
	@sh tools/setup_env/setup.sh

demo: setup  ## shipped detectors under attack, then training and all (--quick: 2 minutes)
	@$(RUN) tools/demo.py $(ARGS)

test: setup  ## all tests (ARGS go to pytest: make test ARGS="-k fusion -x")
	@$(RUN) -m pytest -n auto --dist loadfile $(ARGS)

lint: setup  ## style, formatting and types
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy perception

clean:  ## remove caches and build leftovers; keep .venv, data and work_dirs
	@rm -rf build ./*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@find perception configs tools tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	@rm -rf .venv
