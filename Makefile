# `make demo` and `make test` set everything up by themselves on a fresh machine; the second time they start at once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 60
NATIVE := $(wildcard native/*.pyx native/kernels/*.h)

.PHONY: demo test lint bench fuzz clean
.DELETE_ON_ERROR:

demo: $(VENV)/built
	$(BIN)/splitd demo $(ARGS)

# Two files at a time; the lab measures links, so it has the machine to itself.
test: lint
	$(BIN)/python -m pytest -rs --numprocesses 2 --dist loadfile --ignore tests/lab $(ARGS)
	$(BIN)/python -m pytest -rs tests/lab $(ARGS)

lint: $(VENV)/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p splitd

bench: $(VENV)/built
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only $(ARGS)

fuzz: $(VENV)/built
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) build dist src/splitd.egg-info native/*.so native/*.c

# The environment has everything in pyproject.toml, and splitd itself by a link to this checkout.
$(VENV)/installed: pyproject.toml
	PYTHON=$(PYTHON) sh .ci/prerequisites
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV): minutes the first time, torch is large'
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[test]'
	touch $@

# The compiled codecs lie beside their sources.
$(VENV)/built: $(VENV)/installed setup.py $(NATIVE)
	$(BIN)/python setup.py --quiet build_ext --inplace
	touch $@
