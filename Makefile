# `make` lists the targets. PYTHON=/path/to/python chooses the interpreter of
# .venv; without it the newest supported one that works is taken.

WORKDIR ?= runs/quickstart
CONFIG ?= configs/icrl/quickstart.py
SPR_WORKDIR ?= runs/spr
# Processes that share the tests.
JOBS ?= 2
# Damaged files for each reader in test-fuzz, which bounds its time.
FUZZ_EXAMPLES ?= 400
# The folder `tests` of gymnax's source for test-gymnax, such as that of
#   pip download --no-deps --no-binary :all: gymnax
# unpacked.
GYMNAX_TESTS ?=
# More arguments for pytest: make test ARGS="-k reset --durations=20"
ARGS ?=

BIN = .venv/bin/python
PYTEST = -m pytest --numprocesses=$(JOBS) --dist=worksteal
TEST = sh scripts/test.sh
VERSIONS = 3.11 3.12 3.13
# The Python of the environment with torch and transformers.
INTEROP_PYTHON ?= 3.13
# The Python of the environment with the original POPGym.
POPGYM_PYTHON ?= 3.11

# A PYTHONPATH of the caller would put other packages before the pinned ones.
unexport PYTHONPATH PYTHONHOME
export PYTHON

.PHONY: help venv install quickstart spr-quick test test-slow test-fuzz test-wheel test-interop \
  test-popgym test-gymnax test-compile test-accelerator accelerator-venv bench-accelerator test-site test-matrix lint format \
  docs bench notebooks \
  coverage constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' \
	  Makefile

venv: ## .venv with the project and its pinned dependencies
	@sh scripts/venv.sh .venv

install: venv

quickstart: venv ## train S5 and GRU on a memory task (minutes on 2 cores)
	$(BIN) -m experiments.icrl --config=$(CONFIG) --workdir="$(WORKDIR)"

spr-quick: venv ## SPR against Rainbow on MinAtar's Breakout (minutes)
	$(BIN) -m experiments.spr --config=configs/spr/minatar_quick.py \
	  --workdir="$(SPR_WORKDIR)"

test: venv lint ## lint and the whole test suite
	$(TEST) $(BIN) $(JOBS) quick $(ARGS)

test-slow: venv ## the tests marked slow
	$(TEST) $(BIN) $(JOBS) slow $(ARGS)

test-fuzz: venv ## damaged files for every reader (FUZZ_EXAMPLES=400 each)
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN) $(PYTEST) -m fuzz --timeout=900 \
	  $(ARGS) tests/fuzz

test-wheel: venv ## the wheel with each extra, installed by pip (downloads)
	$(BIN) -m pytest -m wheel --timeout=1800 $(ARGS) tests/extras_test.py

test-interop: ## jaxseq against transformers and torch (downloads torch)
	@PYTHON= sh scripts/venv.sh .venvs/interop $(INTEROP_PYTHON)
	.venvs/interop/bin/python -m pip --disable-pip-version-check --no-input \
	  install --quiet --constraint constraints/$(INTEROP_PYTHON).txt \
	  --requirement tests/interop/requirements.txt
	.venvs/interop/bin/python -m pytest -m interop --timeout=900 $(ARGS) \
	  tests/interop

test-popgym: ## our games beside the original POPGym (ten minutes or more)
	@PYTHON= sh scripts/venv.sh .venvs/popgym $(POPGYM_PYTHON)
	.venvs/popgym/bin/python -m pip --disable-pip-version-check --no-input \
	  install --quiet --constraint constraints/$(POPGYM_PYTHON).txt \
	  --requirement tests/popgym/requirements.txt
	XLA_FLAGS= .venvs/popgym/bin/python $(PYTEST) -m popgym --timeout=3600 \
	  $(ARGS) tests/popgym

test-gymnax: venv ## gymnax's tests on our games (GYMNAX_TESTS=DIR/tests)
	GYMNAX_TESTS="$(GYMNAX_TESTS)" $(BIN) $(PYTEST) \
	  --config-file=pyproject.toml -p tests.gymnax.own_tests \
	  -m "" --override-ini=python_files="test_*.py" \
	  --override-ini=filterwarnings= --timeout=600 $(ARGS) "$(GYMNAX_TESTS)"

test-compile: ## mixers, PPO and SPR by the compilers of a TPU and an H100
	@PYTHON= sh scripts/venv.sh .venvs/compile
	version=`.venvs/compile/bin/python -c \
	  'import sys; print("%d.%d" % sys.version_info[:2])'` && \
	jax=`.venvs/compile/bin/python -c 'import jax; print(jax.__version__)'` && \
	.venvs/compile/bin/python -m pip --disable-pip-version-check --no-input \
	  install --quiet --constraint constraints/$$version.txt \
	  "jax[tpu]==$$jax" "jax-cuda12-plugin==$$jax" "jax-cuda12-pjrt==$$jax" \
	  nvidia-cuda-nvcc-cu12 --editable ".[export,tokamax]"
	.venvs/compile/bin/python -m pytest -m compile --timeout=600 $(ARGS) \
	  tests/compile
	.venvs/compile/bin/python -m pytest -m "slow or not slow" -k tokamax \
	  tests/kernels/window/window_kernels_test.py

accelerator-venv:
	@PYTHON= sh scripts/venv.sh .venvs/accelerator
	@sh scripts/accelerator.sh .venvs/accelerator

test-accelerator: accelerator-venv ## numbers on the GPU or TPU that is there (or a CPU)
	JAX_PLATFORMS= XLA_FLAGS= .venvs/accelerator/bin/python -m pytest \
	  -m accelerator --timeout=600 $(ARGS) tests/accelerator

bench-accelerator: accelerator-venv ## times there, and the table by which kernels are taken
	JAX_PLATFORMS= .venvs/accelerator/bin/python -m benchmarks.accelerators \
	  --minutes=9 --out=runs/accelerators $(ARGS)
	JAX_PLATFORMS= .venvs/accelerator/bin/python -m benchmarks.accelerators \
	  --minutes=9 --out=runs/tuned --tune $(ARGS)

test-site: venv ## the documentation in a headless browser (Chromium)
	$(BIN) -m pytest -m site $(ARGS) tests/docs

test-matrix: ## the test suite on each of Python 3.11, 3.12, 3.13 present
	@ran=; failed=; \
	for version in $(VERSIONS); do \
	  status=0; \
	  PYTHON= sh scripts/venv.sh .venvs/$$version $$version || status=$$?; \
	  if [ $$status -eq 3 ]; then continue; fi; \
	  ran="$$ran $$version"; \
	  if [ $$status -ne 0 ] || \
	    ! $(TEST) .venvs/$$version/bin/python $(JOBS) quick $(ARGS); then \
	    failed="$$failed $$version"; \
	  fi; \
	done; \
	echo "Ran on:$${ran:- none}. Failed on:$${failed:- none}."; \
	[ -n "$$ran" ] && [ -z "$$failed" ]

lint: venv ## ruff, both checks and format, and the types
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m pyrefly check --python-interpreter-path=$(BIN) --summary=none

format: venv ## let ruff rewrite what it can
	$(BIN) -m ruff check --fix .
	$(BIN) -m ruff format .

docs: venv ## the table of mixers, and the documentation: site/index.html
	$(BIN) -m scripts.mixers_table
	NO_MKDOCS_2_WARNING=1 $(BIN) -m mkdocs build --strict --quiet

bench: venv ## time and memory of the recurrences
	$(BIN) -m benchmarks.recurrence

notebooks: venv ## write and run the notebooks from their sources
	for source in colabs/*.py; do \
	  .venv/bin/jupytext --quiet --to ipynb $$source && \
	  MPLBACKEND=module://matplotlib_inline.backend_inline \
	  .venv/bin/jupyter-execute --inplace $${source%.py}.ipynb || exit 1; \
	done

coverage: venv ## the tests with line and branch coverage
	$(BIN) $(PYTEST) --cov --cov-report=term-missing $(ARGS)

constraints: ## pin the newest dependencies that fit, for each Python present
	@sh scripts/constraints.sh

clean: ## remove environments and caches; runs/ stays
	rm -rf .venv .venvs .cache .hypothesis .pytest_cache .ruff_cache build \
	  dist htmlcov site .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
