# make quick    set up, and say in under a minute which losses are safe and what breaks the others
# make report   set up, run the default plan, write the report and print where; a first one while the run goes on
# make test     set up, run the tests that take minutes together; a change is tried with these
# make test-all set up, run all tests: every dtype and case, and those that need a cluster, LaTeX, a browser or an installer
# make lint     set up, check style, spelling, prose, types and, if reachable, the pinned packages for known weaknesses
# make bench    set up, measure LogitLab's own speed; BENCH="--table b --keep docs/measured" are its options
# make grades   set up, measure the grades that README and docs/measured/grades.md state; RUN="folder ..." takes these runs
# make docs     set up, measure what the documentation speaks of, build it and print where
# make setup    only the virtual environment, with what a run and its report need
#
# TORCH=cpu     with any of these: take PyTorch's CPU build, which is a fifth of the size, from PyTorch's own index

# Where this is set, each process compiles LogitLab and the tests again.
export PYTHONDONTWRITEBYTECODE =

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
NAMED := $(VENV)/typed/logitlab
TYPES := $(VENV)/.types
RUN ?= runs/$(shell date -u +%Y-%m-%dT%H-%M-%SZ)

.PHONY: quick report grades docs bench test test-all lint format setup clean

setup: $(READY) $(TYPES)

# uv is quicker than pip. It takes the build of PyTorch that suits the machine from PyTorch's own index; where that
# cannot be reached, pip installs as it is configured. To compile modules is most of pip's time, and it does so on one
# core: compileall uses all, and leaves out the packages' own tests. They are compiled now, since where
# PYTHONDONTWRITEBYTECODE is set each process would compile them again.
TORCH ?=
COMMA := ,
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile \
  $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
UV_INSTALL := uv pip install --quiet --python $(BIN)/python --torch-backend $(or $(TORCH),auto)
define INSTALL
if command -v uv > /dev/null && $(UV_INSTALL) --constraint constraints.txt --editable '.[$(1)]'; then :; else \
  if command -v uv > /dev/null; then echo "uv could not install what is needed, as it says above: pip does"; fi; \
  $(PIP_INSTALL) --constraint constraints.txt --editable '.[$(1)]'; fi
endef
# A package may hold files that this Python cannot compile, and never imports.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LogitLab needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@$(call INSTALL,all)
	@$(COMPILE)
	@$(BIN)/python -c 'from logitlab.core.extras import notices; [print(line) for line in notices()]'
	@touch $@

# What tests, style, documentation and benchmarks need besides.
$(DEVELOP): $(READY)
	@$(call INSTALL,all$(COMMA)dev)
	@$(COMPILE)
	@touch $@

# Static tools do not run the import hook of an editable install. mypy finds the types of a package in NAME-stubs too,
# where the top of the package has to be a .pyi.
$(TYPES): $(READY) $(wildcard *.py */__init__.py */*/__init__.py)
	@stubs=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/logitlab-stubs && \
	rm -rf "$$stubs" && mkdir "$$stubs" && ln -s "$(CURDIR)"/* "$$stubs"
	@touch $@

# mypy and the documentation find a package by its folder's name, and this folder may have any.
$(NAMED):
	@mkdir -p $(@D) && ln -sfn "$(CURDIR)" $@

quick: $(READY) $(TYPES)
	$(BIN)/logitlab run --quick --out $(RUN)

report: $(READY) $(TYPES)
	$(BIN)/logitlab run --report --out $(RUN)
	$(BIN)/logitlab report $(RUN) --format markdown

# RUN="folder ..." builds the documentation from these runs instead of its own.
docs: $(DEVELOP) $(NAMED)
	NO_MKDOCS_2_WARNING=1 RUN="$(if $(filter command line environment,$(origin RUN)),$(RUN))" $(BIN)/mkdocs build --strict --clean
	@echo "The documentation: $(CURDIR)/build/docs/index.html"

# The grades in docs/measured/grades.json and the tables made from them, in README and docs/measured/grades.md.
grades: $(DEVELOP)
	$(BIN)/python benchmarks/grades.py $(if $(filter command line environment,$(origin RUN)),$(RUN))

bench: $(DEVELOP)
	$(BIN)/python benchmarks/bench.py $(BENCH)

# The root of the tests is theirs: the folder above is the package, and pytest would want its name to be one in Python.
# Two of the four workers run the tests that import TensorFlow and JAX, and then end (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -c pyproject.toml --rootdir tests -n 4 --dist loadgroup

# The markers are explained in pyproject.toml, and what is marked in tests/conftest.py.
LEFT_OUT := full or cluster or latex or browser or venv or kills
test: $(DEVELOP) $(TYPES)
	$(PYTEST) -m "not ($(LEFT_OUT))" tests

# The tests of `make test` first, since they fail soonest; then what they leave out. No test runs twice, but for those
# of Hypothesis, which then draw more.
test-all: test
	$(PYTEST) --hypothesis-profile full -m "$(LEFT_OUT) or hypothesis" tests

lint: $(DEVELOP) $(NAMED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/python .ci/prose.py
	cd $(VENV)/typed && ../bin/mypy --config-file ../../pyproject.toml
	$(BIN)/python .ci/audit.py constraints.txt

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
