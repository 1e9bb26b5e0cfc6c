# Every target sets itself up on a fresh clone: the stamp file stands for an installed .venv.
PYTHON ?= python3
# Where torch without CUDA comes from; pip prefers its "+cpu" build over the plain one.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
STAMP := .venv/.installed
# Tests start many processes; compiled modules are kept for them, whatever the environment says.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.PHONY: demo test test-all coverage lint docs bench clean

demo: $(STAMP)
	$(BIN)/pcm3 demo --out demo

test: $(STAMP)
	$(TEST_ENV) $(BIN)/pytest -q -n 2 --dist worksteal

# Also the tests marked slow: fuzzed files, killed runs.
test-all: $(STAMP)
	$(TEST_ENV) $(BIN)/pytest -q -n 2 --dist worksteal -m "slow or not slow"

# At least 95 % of the lines, and every message of an error, without any recordings.
coverage: $(STAMP)
	rm -f .coverage .coverage.*
	PCM3_SHARED=none $(TEST_ENV) $(BIN)/pytest -q -n 2 --dist worksteal \
		--cov --cov-context=test --cov-fail-under=95
	$(BIN)/python tests/raises.py

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell *.md docs examples pcm3 benchmarks
	$(MAKE) docs

docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# What a CPU measures in an hour, into benchmarks/results; best on a machine that is idle.
bench: $(STAMP)
	$(BIN)/python benchmarks/step.py --precision fp32 bf16
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/growth.py

clean:
	rm -rf build demo docs/_build docs/api docs/pictures/*.svg .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find pcm3 tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-deps --retries 1 --timeout 30 \
		--extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,docs]'
	touch $@
