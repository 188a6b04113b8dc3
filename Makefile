# Every target with `## text` is listed by `make help`. Pass flags on by ARGS: make train ARGS="--epochs 5"
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
MIDAS := $(BIN)/midas
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build test test-all check bench soak demo doctor up down status logs logs-collector logs-processor logs-features \
	dashboards stats process validate-features train tune tensorboard audit backtest forecast models clean-data

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt tests/s3-server.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make setup: expected Python 3.11 or newer, found $$($(PYTHON) --version 2>&1 | head -n 1); install it, or run make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make setup: this Python has no venv module; install it (Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (about two minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,eval,cloud]'
	@rm -rf $(VENV)/s3-server
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/s3-server -r tests/s3-server.txt
	@touch $@

setup: $(READY) ## create .venv and install the pinned packages

build: setup ## same as setup

test: setup ## run the tests but for the long ones
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

test-all: setup ## all tests: an hour and more
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## style, types and tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

$(BENCH_READY): $(READY)
	@echo "installing the benchmarks' pinned packages into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,dev]'
	@touch $@

bench: $(BENCH_READY) ## benchmarks beside hftbacktest: one table, and JSON; ARGS="--full" adds a day of ten symbols
	@$(BIN)/python -m benchmarks $(ARGS)

soak: setup ## ten minutes of faults and kills, judged against the exchange's own books; then memory under load
	@$(BIN)/python -m benchmarks.soak $(ARGS)
	@$(BIN)/python -m benchmarks.soak_memory

demo: setup ## everything end to end against the simulated exchange; ends with two reports to open
	@$(MIDAS) demo $(ARGS)

doctor: setup ## check this machine
	@$(MIDAS) doctor $(ARGS)

up: setup ## start the head node and the collectors; does nothing where they run
	@$(MIDAS) up $(ARGS)

down: setup ## stop the collectors, losing nothing, and the head node
	@$(MIDAS) down $(ARGS)

status: setup ## health at a glance
	@$(MIDAS) status $(ARGS)

dashboards: setup ## files for Prometheus and Grafana, with boards and alerts; says how to open them
	@$(MIDAS) dashboards $(ARGS)

logs: setup ## logs of all stages
	@$(MIDAS) logs $(ARGS)

logs-collector: setup ## logs of the collector
	@$(MIDAS) logs collector $(ARGS)

logs-processor: setup ## logs of reconstruct
	@$(MIDAS) logs processor $(ARGS)

logs-features: setup ## logs of features
	@$(MIDAS) logs features $(ARGS)

stats: setup ## files, rows, bytes, completeness and gaps per symbol and day
	@$(MIDAS) stats $(ARGS)

process: setup ## raw journals to clean tables to features
	@$(MIDAS) reconstruct $(ARGS)
	@$(MIDAS) features $(ARGS)

validate-features: setup ## data-quality report
	@$(MIDAS) validate $(ARGS)

train: setup ## train the forecaster
	@$(MIDAS) train $(ARGS)

tune: setup ## search the forecaster's settings; the best are written for make train ARGS="--config FILE"
	@$(MIDAS) tune $(ARGS)

tensorboard: setup ## serve the training curves
	@$(MIDAS) tensorboard $(ARGS)

audit: setup ## prove on your own data that nothing sees the future
	@$(MIDAS) audit $(ARGS)

backtest: setup ## walk-forward backtest and its report
	@$(MIDAS) backtest $(ARGS)

forecast: setup ## live forecasts beside midas up: ARGS="--symbols btcusdt"
	@$(MIDAS) forecast $(ARGS)

models: setup ## trained models: ARGS="list", "promote RUN", "compare RUN RUN"
	@$(MIDAS) models $(or $(ARGS),list)

clean-data: setup ## delete data by age and size, never what is needed: ARGS="--older-than 30d --dry-run"; asks first
	@$(MIDAS) clean-data $(ARGS)
