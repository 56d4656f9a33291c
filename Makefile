# Everything happens in .venv, with exactly the locked versions. `make help` lists the targets.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
EXAMPLES ?= 100
SEED ?= 1
export HOST PORT EXAMPLES SEED

VENV := .venv
BIN := $(VENV)/bin
KIT := miniprogram/node_modules
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: help demo test lint e2e fuzz bench docs lock messages clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## a site with people in it, on http://127.0.0.1:8000 (HOST and PORT override)
	@$(BIN)/python -m groupsite.demo

test: $(VENV)/.dev ## the Python tests; DATABASE_URL and REDIS_URL choose other services
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev $(KIT)/.dev ## ruff, mypy, templates, migrations, docs, translations; eslint and types of the client kit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/djlint --lint --quiet templates
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py errors_doc --check
	@$(BIN)/python scripts/translations.py --check
	@$(BIN)/mypy .
	@cd miniprogram && npm run --silent lint

e2e: $(VENV)/.dev $(KIT)/.dev ## pages, client kit and mini-program in a real browser (needs chromium and Node 20)
	@$(BIN)/python -m pytest e2e

fuzz: $(VENV)/.dev ## schemathesis against the whole site (EXAMPLES and SEED override)
	@$(BIN)/python -m fuzz

bench: $(VENV)/.dev ## the calls beside pgbench with the same SQL (needs postgresql; GROUPS=20000 for a million memberships)
	@$(BIN)/python -m benchmarks

docs: $(VENV)/.dev ## what is written from the code: docs/errors.md
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py errors_doc

lock: $(VENV)/.dev ## renew requirements*.txt from pyproject.toml
	@./scripts/lock $(BIN)/uv

messages: $(VENV)/.dev ## collect and compile the translations (needs gettext)
	@$(BIN)/python scripts/translations.py

clean: ## forget the environment and the demo's data
	rm -rf $(VENV) $(KIT) var

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "groupsite needs Python 3.11 or newer")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Install the venv module first: apt install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "Installing the requirements"
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing the requirements for development"
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.runtime

$(KIT)/.dev: miniprogram/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo "The client kit's tests need Node 20 or newer, with npm 请先安装 Node 20"; exit 1; }
	@echo "Installing what the client kit is checked with"
	@cd miniprogram && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@
