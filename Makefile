# make report   set up, run the default plan, write the report and print where
# make test     set up, run the tests
# make lint     set up, check style and types
# make setup    only the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN ?= runs/$(shell date -u +%Y-%m-%dT%H-%M-%SZ)

.PHONY: report test lint format setup clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LogitLab needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

report: $(READY)
	$(BIN)/logitlab run --out $(RUN)
	$(BIN)/logitlab report $(RUN)
	@echo
	@echo "The report, as text, Markdown, CSV and a web site, which begins with index.html:"
# The site is left out where the extra that it needs is.
	@site=$$($(BIN)/python -c 'import altair, jinja2, vl_convert' 2> /dev/null && echo --format html); \
	$(BIN)/logitlab report $(RUN) --format text --format markdown --format csv $$site --out $(RUN)/report

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
# mypy finds a package by its folder's name, and this folder may have any.
	@mkdir -p $(VENV)/typed && ln -sfn "$(CURDIR)" $(VENV)/typed/logitlab
	MYPYPATH=$(VENV)/typed $(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
