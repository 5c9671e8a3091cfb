# Pairwright: `make help` lists the verbs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PROCESSES ?= 2  # that run tests
BIN := .venv/bin
BENCHMARKS := filter_throughput worker_scaling filter_memory selection_funnel near_duplicates semantic_duplicates \
  explorer against_data_juicer towers train_step train_features clip_loop generation sparse_retrieval \
  retrieval_blocks
WITH_near_duplicates := --exact auto never --real data/raw --svg docs/pictures/near_duplicates.svg
READY := .venv/.ready
CORE := .venv-core/.ready
PASSED := .venv-core/passed.json

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY) ## Install the locked dependencies into .venv

$(READY): requirements.lock pyproject.toml infra/install.sh
	PYTHON=$(PYTHON) bash infra/install.sh .venv platform,dev
	@touch $@

# The numerical core must run where ray, prefect, mlflow, dvc, great_expectations and bentoml are not.
$(CORE): requirements-core.lock pyproject.toml infra/install.sh
	PYTHON=$(PYTHON) bash infra/install.sh .venv-core dev-core
	@touch $@

data: $(READY) ## Pull the corpora that data.dvc pins (demo, emoji), from infra/dvc-remote
	@$(BIN)/python -c 'from pairwright.components.versioning import pull_data; print(pull_data("."))'

demo: $(READY) ## The demo corpus to a curated set, a registered model, a Bento and a report
	$(BIN)/pairwright run quickstart

serve: $(READY) ## Serve the champion on http://127.0.0.1:3000
	$(BIN)/pairwright serve

label: data ## Judge captions on a page, http://127.0.0.1:3100
	$(BIN)/pairwright label data/raw

explore: $(READY) ## Look at every pair of the latest run, http://127.0.0.1:8321
	$(BIN)/pairwright explore

up: $(READY) ## Prefect (with the deployments served), MLflow and the Bento on this machine
	$(BIN)/python -m pairwright.flows.servers.servers up

down: ## End what `make up` started
	$(BIN)/python -m pairwright.flows.servers.servers down

lint: $(READY) ## ruff, mypy on components and serving, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(READY) ## Every unit test, in the whole environment
	$(BIN)/pytest tests/unit -n $(PROCESSES)

quick: $(READY)
	$(BIN)/pytest tests/unit -n $(PROCESSES) -m "not slow"

check: lint quick ## The quick part: lint, types, quick unit tests (under 4 minutes)

core: $(CORE) ## The core's quick unit tests, where none of the platform's packages is installed
	.venv-core/bin/pytest tests/unit -m "not platform and not slow" -n $(PROCESSES) --passed-to $(PASSED)

beyond-core: $(READY) core ## The unit tests that did not pass in `core`: those of the platform, and the slow ones
	$(BIN)/pytest tests/unit -n $(PROCESSES) --but-for $(PASSED)

test: $(READY) ## Everything, set-up included; each test once
	bash infra/browser.sh
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint data $(CORE)
	$(MAKE) --no-print-directory beyond-core
	$(BIN)/pytest tests --ignore=tests/unit -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations=30

bench: $(READY) ## Every benchmark, and docs/speed.md from what they found (hours)
	mkdir -p workspace/benchmarks
	@missed=; $(foreach name,$(BENCHMARKS),$(BIN)/python -m benchmarks.$(name) \
	  --json workspace/benchmarks/$(name).json $(WITH_$(name)) || missed="$$missed $(name)"; ) \
	$(foreach name,help_time demo loader pdq curation fused_training,$(BIN)/python -m benchmarks.$(name) || missed="$$missed $(name)"; ) \
	$(BIN)/python docs/write_speed.py && test -z "$$missed" || { echo "below their goals:$$missed"; exit 1; }

pictures: $(READY) ## Retake the README's screenshots from a real run
	bash infra/browser.sh
	$(BIN)/python docs/take_pictures.py
	$(BIN)/python docs/picture_label.py
	$(BIN)/python docs/take_explorer_pictures.py

lock: $(READY) ## Resolve the dependencies anew into requirements.lock
	bash infra/lock.sh

clean: ## Remove what runs made (not data/, not .venv)
	rm -rf workspace build dist .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup data demo serve label explore up down lint unit quick check core beyond-core test bench pictures lock clean
