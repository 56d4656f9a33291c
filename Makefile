# All targets use .venv, with the locked versions. `make help` lists them.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
EXAMPLES ?= 100
SEED ?= 1
JOBS ?= $(shell nproc)
export HOST PORT EXAMPLES SEED

VENV := .venv
BIN := $(VENV)/bin
KIT := miniprogram/node_modules
PEER := benchmarks/node_modules
EXAMPLE_APPS := examples/taro/node_modules examples/uni-app/node_modules
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: help demo signin test lint e2e fuzz mutants bench prove guide cluster docs pictures lock messages release clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## a site with invented members, on http://127.0.0.1:8000 (HOST and PORT change that)
	@$(BIN)/python -m groupsite.demo

signin: $(VENV)/.runtime ## another one-time sign-in link for operators of the demo
	@$(BIN)/python -m groupsite.demo signin

test: $(VENV)/.dev ## Python tests on SQLite, JOBS at a time; DATABASE_URL and REDIS_URL choose other services
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# Tests of one xdist_group share a server or the like, which each worker would set up again.
SIDE_BY_SIDE := --numprocesses $(JOBS) --dist loadgroup

lint: $(VENV)/.dev $(KIT)/.dev ## ruff, mypy, templates, migrations, docs, translations, the client kit, counts
	@$(MAKE) --no-print-directory --jobs $(JOBS) --keep-going --output-sync $(CHECKS)

# The checks of lint, the longest first: each reads only, so that several run at a time.
CHECKS := lint-types lint-counts lint-kit lint-translations lint-migrations lint-errors lint-style lint-templates
.PHONY: $(CHECKS)
lint-types: ; @$(BIN)/mypy .
lint-counts: ; @$(BIN)/python -m scripts.counts
lint-kit: ; @cd miniprogram && npm run --silent lint
lint-translations: ; @$(BIN)/python scripts/translations.py --check
lint-migrations: ; @DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run
lint-errors: ; @DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py errors_doc --check
lint-style: ; @$(BIN)/ruff check . && $(BIN)/ruff format --check .
lint-templates: ; @$(BIN)/djlint --lint --quiet templates

e2e: $(VENV)/.dev $(KIT)/.dev $(EXAMPLE_APPS:=/.dev) ## pages, client kit and mini-programs in a real browser (needs chromium and Node 20)
	@$(BIN)/python -m pytest e2e $(SIDE_BY_SIDE)

fuzz: $(VENV)/.dev ## schemathesis against the API (EXAMPLES and SEED change how many, and which)
	@$(BIN)/python -m fuzz

mutants: $(VENV)/.dev ## make faults in a copy of the code, one by one: the model of the rankings has to notice each
	@$(BIN)/python -m scripts.mutants

bench: $(VENV)/.dev $(PEER)/.dev ## calls beside pgbench and bare Node (needs postgresql, redis-server, Node 20; GROUPS=20000 for a million memberships)
	@$(BIN)/python -m benchmarks

prove: $(VENV)/.dev ## long trials: fuzz, forgery, kills, faults (TRIALS chooses; needs postgresql, mariadb-server, redis-server)
	@$(BIN)/python -m prove --long $(TRIALS)

guide: $(VENV)/.dev ## docs/deploy.md word by word in an empty Debian, as root (DATABASES="sqlite postgresql mariadb"; needs debootstrap, systemd-container)
	@$(BIN)/python -m deploy.trial $(DATABASES)

cluster: $(VENV)/.dev ## several PostgreSQLs and nodes on this machine, to break (ARGS="--lag 5", "fail postgres", "prove"; needs postgresql, etcd-server, haproxy, redis-server)
	@$(BIN)/python -m deploy.cluster $(ARGS)

docs: $(VENV)/.dev ## write docs/errors.md from the code
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py errors_doc

pictures: $(VENV)/.dev $(KIT)/.dev ## take the pictures of the READMEs anew (needs chromium and Node 20)
	@$(BIN)/python -m scripts.pictures

lock: $(VENV)/.dev ## lock requirements*.txt from pyproject.toml
	@./scripts/lock $(BIN)/uv

messages: $(VENV)/.dev ## collect and compile translations (needs gettext)
	@$(BIN)/python scripts/translations.py

release: $(VENV)/.dev ## version, dated changelog, bill of materials, commit and tag (VERSION=0.1.0; DRY=1 only says so)
	@$(BIN)/python -m scripts.release "$(VERSION)" $(if $(DRY),--dry-run)

clean: ## delete the environment and the demo's data
	rm -rf $(VENV) $(KIT) $(PEER) $(EXAMPLE_APPS) var

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
	@echo "Installing the tools that check the client kit"
	@cd miniprogram && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(PEER)/.dev: benchmarks/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo "The benchmarks need Node 20 or newer, with npm 请先安装 Node 20"; exit 1; }
	@echo "Installing what the benchmarks compare with"
	@cd benchmarks && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

examples/%/node_modules/.dev: examples/%/package-lock.json
	@echo "Installing what builds examples/$*"
	@cd examples/$* && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@
