# Start with `make demo` and `make test`. Both create the environment if it is missing.
PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin
READY   = $(VENV)/.ready
export HF_HUB_OFFLINE ?= 1

.PHONY: help setup demo test lint docs bench media screenshots clean

help:               ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 14

setup: $(READY)     ## create the environment with the tested versions

$(READY): pyproject.toml constraints.txt tools/torchvision_cpu.py
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	$(RUN)/python tools/torchvision_cpu.py
	touch $(READY)

demo: $(READY)      ## render, train, test and predict in about five minutes; results in runs/demo
	$(RUN)/affectkit demo

test: $(READY)      ## run all tests
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n 2 --dist=worksteal

lint: $(READY)      ## check style, types and import rules
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

docs: $(READY)      ## build the site in docs/_build; warnings are errors
	$(RUN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)     ## run the speed comparisons in benchmarks/
	for script in benchmarks/*.py; do $(RUN)/python $$script || exit 1; done

media: $(READY)     ## download short videos of real faces for tests marked realmedia
	$(RUN)/python tools/media.py

screenshots: $(READY)  ## save screenshots of reports, overlays and timelines to runs/screenshots (needs Chromium)
	$(RUN)/python tools/screenshots.py

clean:              ## remove the environment and everything generated
	rm -rf $(VENV) runs media docs/_build dist
