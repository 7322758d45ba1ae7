SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Install everything into .venv from the hashed lock file

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "CRM-Kassa needs Python 3.11 or newer; run: make PYTHON=python3.12 …")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

.PHONY: up
up: setup ## Run API, worker and embedded PostgreSQL here; ARGS="--port 8080 --demo"
	@$(BIN)/crm-kassa up $(ARGS)

.PHONY: demo
demo: setup ## Watch payments become receipts; ARGS=--once ends by itself
	@$(BIN)/crm-kassa demo $(ARGS)

.PHONY: test
test: setup ## Run all tests (no server to start by hand)
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

.PHONY: test-long
test-long: setup ## A million random baskets, then the API fuzzed; KASSA_BASKETS=1000000 KASSA_FUZZ_EXAMPLES=500
	@$(BIN)/python -m tests.baskets.run $(ARGS)
	@KASSA_FUZZ_EXAMPLES=$${KASSA_FUZZ_EXAMPLES:-500} KASSA_FUZZ_SEED=$${KASSA_FUZZ_SEED:-$$(date +%s)} $(BIN)/pytest tests/fuzz -q

.PHONY: check
check: setup lint types imports openapi-check test chaos ## Everything that CI runs

.PHONY: lint
lint: setup ## Style and security rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: setup ## Strict types
	@$(BIN)/mypy

.PHONY: imports
imports: setup ## Who may import whom
	@$(BIN)/lint-imports

.PHONY: openapi
openapi: setup ## Write openapi/ from the code
	@$(BIN)/crm-kassa openapi --out openapi

.PHONY: openapi-check
openapi-check: setup
	@$(BIN)/crm-kassa openapi --out openapi --check

.PHONY: openapi-lint
openapi-lint: ## Lint openapi/ with Redocly (needs Node and npm)
	@npx --yes @redocly/cli@2 lint openapi/openapi.json --config redocly.yaml

.PHONY: docs
docs: setup ## Write the generated pages of docs/
	@$(BIN)/crm-kassa docs --out docs

.PHONY: migrate
migrate: setup ## Bring the database of KASSA_DATABASE_URL to the newest schema
	@$(BIN)/crm-kassa migrate $(ARGS)

.PHONY: revision
revision: setup ## New migration; m="what it does" url=postgresql://…
	@$(BIN)/alembic -x url=$(url) revision --autogenerate -m "$(m)"

$(BENCH_STAMP): requirements-bench.lock $(STAMP)
	@echo "Installing what the benchmarks compare with …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $(BENCH_STAMP)

.PHONY: bench
bench: $(BENCH_STAMP) ## Speed beside the peers, a minute and a half; ARGS=--write renews the report
	@$(BIN)/python -m benchmarks.run $(ARGS)

.PHONY: bench-long
bench-long: $(BENCH_STAMP) ## The same in three long passes, grown to 5,000,000 receipts, up to 4 workers
	@$(BIN)/python -m benchmarks.run --long $(ARGS)

.PHONY: chaos
chaos: setup ## Attack "one document per payment": kills, faults, a checker; ARGS="--seed …"
	@$(BIN)/python -m tests.chaos.run $(ARGS)

.PHONY: chaos-long
chaos-long: setup ## The same with 100,000 events and takeovers (an hour); writes docs/proof.md
	@$(BIN)/python -m tests.chaos.run --long --events 100000 --rate 30 --report docs/proof.md $(ARGS)

.PHONY: chaos-bugs
chaos-bugs: setup ## Test the test: twelve planted bugs must each turn a run red
	@$(BIN)/python -m tests.chaos.planted $(ARGS)

.PHONY: chaos-outage
chaos-outage: setup ## Six hours without the provider by a moved clock; ARGS="--hours 6 --rate 20 --density 1"
	@$(BIN)/python -m tests.chaos.outage $(ARGS)

.PHONY: lock
lock: ## Renew the lock files (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra embedded --extra otel --group build pyproject.toml -o requirements.lock -q
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra embedded --extra otel --group dev pyproject.toml -o requirements-dev.lock -q
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --constraint requirements-dev.lock --group bench pyproject.toml -o requirements-bench.lock -q
