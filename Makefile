# The menu: `make` lists it. Each target does its own set-up, once.

PYTHON ?=
DURATION ?= 60
ARGS ?=
WORKERS ?= 3

VENV := .venv
PY := $(VENV)/bin/python
INGEST := $(PY) -m ingest
RUNTIME := $(VENV)/.ready
DEV := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run status doctor simulate migrate test cov lint fmt check bench bench-sustained bench-peers flame pictures bench-queries bench-reading silence silence-day chaos faults soak notebooks schema docs rules lock hooks clean
MAKEFLAGS += --no-print-directory

help:  ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(DEV)  ## the virtual environment with everything (the other targets do it themselves)

demo: $(RUNTIME)  ## 60 s against the bundled exchange, then the account (DURATION=0: for ever)
	@$(INGEST) demo --duration $(DURATION) $(ARGS)

run: $(RUNTIME)  ## the service against live Binance, into the embedded PostgreSQL
	@$(INGEST) run $(ARGS)

status: $(RUNTIME)  ## how fresh every stream is (while `make run` runs, or after)
	@$(INGEST) status $(ARGS)

doctor: $(RUNTIME)  ## can the service work here, and if not, what is to be done?
	@$(INGEST) doctor $(ARGS)

simulate: $(RUNTIME)  ## the exchange double alone
	@$(INGEST) simulate $(ARGS)

migrate: $(RUNTIME)  ## bring the database's schema up to date
	@$(INGEST) migrate $(ARGS)

test: $(DEV)  ## all tests (ARGS="-k book" for some; WORKERS=0: in one process, for a debugger)
	@.ci/promtool || true
	@.ci/timescale || true
	@.ci/deploytools || true
	@.ci/chromium || true
	@$(PY) -m pytest -n $(WORKERS) $(ARGS)

cov: $(DEV)  ## all tests with branch coverage, child processes included
	@mkdir -p .cache/coverage && rm -f .cache/coverage/*
	@$(PY) -m coverage run -m pytest $(ARGS)
	@$(PY) -m coverage combine --quiet && $(PY) -m coverage report

lint: $(DEV)  ## ruff, mypy, direction and purity of imports, docstrings
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted: run make fmt"; exit 1; }
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --cache-dir .cache/import-linter
	@$(PY) -m interrogate --quiet ingest
	@$(PY) -m interrogate --quiet --config /dev/null --ignore-module --fail-under 100 --whitelist-regex '^test_' tests

fmt: $(DEV)  ## format, and mend what ruff can
	@$(PY) -m ruff check --fix-only --quiet . ; $(PY) -m ruff format .

check:  ## what CI runs
	@.ci/run

bench: $(DEV)  ## CPU per message and messages a second of every row, beside the floor (ARGS="--rows shard,stored")
	@$(PY) -m tests.bench $(ARGS)

bench-sustained: $(DEV)  ## the service end to end under load (ARGS="--shards 2 --rate 60000 --minutes 10", or --search)
	@$(PY) -m tests.bench.sustained $(ARGS)

bench-peers: $(DEV)  ## the same frames through cryptofeed, python-binance, ccxt and others, beside ours
	@$(PY) -m tests.bench.peers $(ARGS)

flame: $(DEV)  ## draw where a shard's time goes: ingest/docs/flame.svg
	@$(PY) -m tests.bench --rows shard --rounds 1 --messages 500000 --flame ingest/docs/flame.svg $(ARGS)

pictures: $(DEV)  ## take the pictures of the status page anew: ingest/docs/page
	@.ci/chromium
	@$(PY) -m tests.page_pictures

bench-queries: $(DEV)  ## sizes and query times on 20 million rows beside a naive schema (ARGS="--timescale-url ...")
	@$(PY) -m tests.bench.queries $(ARGS)

bench-reading: $(DEV)  ## a million trades into Arrow, polars and pandas, beside pandas.read_sql
	@$(PY) -m tests.bench.reading $(ARGS)

silence: $(DEV)  ## provoke every kind of silence: time to notice, diagnosis, time to recover
	@$(PY) -m tests.silence $(ARGS)

silence-day: $(DEV)  ## a simulated day of 3000 streams, 1000 of them mute for a while: precision and recall
	@$(PY) -m tests.simulation.day_of_silence $(ARGS)

chaos: $(DEV)  ## every fault on a service of its own, and what it has cost (ARGS="--only shard-kill,reset")
	@$(PY) -m tests.chaos $(ARGS)

faults: $(DEV)  ## provoke faults and compare what everybody says of them: ingest/docs/faults.md (ARGS="--only cut")
	@.ci/promtool
	@$(PY) -m tests.verdicts $(ARGS)

soak: $(DEV)  ## random faults from a seed for an hour (ARGS="--minutes 10 --seed 7")
	@$(PY) -m tests.chaos.soak $(ARGS)

notebooks: $(DEV)  ## JupyterLab on the service's database, or on a demo session recorded now
	@$(PY) -m ingest notebooks $(ARGS)

schema: $(DEV)  ## write sql/SCHEMA.md anew, from a migrated database
	@$(PY) -m tests.catalog

docs: $(DEV)  ## write the configuration reference and the annotated ingest.toml anew, from the code
	@$(PY) -m ingest config --reference > ingest/docs/configuration.md.new
	@mv ingest/docs/configuration.md.new ingest/docs/configuration.md
	@$(PY) -m ingest config --template > ingest/docs/ingest.toml.new
	@mv ingest/docs/ingest.toml.new ingest/docs/ingest.toml

rules: $(DEV)  ## write k8s/prometheus/prometheusrule.yaml anew, from rules.yaml
	@$(PY) -m tests.deploy.prometheus_rule

lock: $(DEV)  ## write the lock files anew (UPGRADE=1: with the newest versions)
	@UPGRADE=$(UPGRADE) .ci/lock

hooks: $(DEV)  ## run the quick checks before each commit
	@$(PY) -m pre_commit install

clean:  ## remove the virtual environment and all caches; data under var/ stay
	rm -rf $(VENV) .cache .hypothesis .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	find ingest tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup runtime

$(DEV): tests/requirements.lock requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup dev
