SITE := lab
CMD ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

PYTHON := .venv/bin/python
# Only the lab's namespace reaches the lab host.
INSIDE = $(if $(filter lab,$(SITE)),$(PYTHON) -m lab exec --,)
HOST = $(if $(filter lab,$(SITE)),lab,.venv/.ready)
PYINFRA = $(INSIDE) .venv/bin/pyinfra inventory.py deploy.py --limit $(SITE)
PYTEST = $(PYTHON) -m pytest
VERIFY = $(INSIDE) $(PYTEST) tests/verify --site $(SITE) -q $(PYTEST_ARGS)
MAKEFLAGS += --no-print-directory

.PHONY: help up test check programs deploy plan drift status doctor verify bench soak ssh down clean docs requirements lab

help: ## show this list
	@grep -hE '^[a-z ]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# These ask nobody.
up test soak bench: override SITE := lab

up: lab ## boot the lab host, deploy the whole stack onto it, verify it, print where to look
	@$(PYINFRA) -y
	@$(VERIFY)
	@$(INSIDE) bin/stack status $(SITE)

test: check programs up ## run all tests, the lab's too
	@$(PYTHON) -m lab exec -- $(PYTEST) tests/lab -m 'not soak' $(PYTEST_ARGS)

soak: up ## long campaigns: every drift case alone, random kills, hard stops
	@$(PYTHON) -m lab exec -- $(PYTEST) tests/lab -m soak $(PYTEST_ARGS)

check: .venv/.ready ## format, lint, types, unit tests: the fast lane
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(PYTEST) tests/unit -q $(PYTEST_ARGS)

programs: .venv/.ready ## our services and the lab's stand-ins as real processes, on loopback
	@$(PYTHON) -m lab.packages nftables postgresql-15 prometheus zsh fish
	@$(PYTEST) tests/programs -q $(PYTEST_ARGS)

deploy: $(HOST) ## deploy to SITE, asking first
	@$(PYINFRA)

plan drift status doctor: $(HOST) ## bin/stack's command of that name on SITE
	@$(INSIDE) bin/stack $@ $(SITE)

verify: $(HOST) ## prove what runs on SITE
	@$(VERIFY)

bench: lab .venv-bench/.ready ## this toolkit, docker compose and Ansible on the same containers
	@$(PYINFRA) -y
	@$(PYTHON) -m bench $(BENCH_ARGS)

ssh: lab ## a shell on the lab host; with CMD='...' one command (2: it failed, with "Error N")
	@$(PYTHON) -m lab ssh $(if $(value CMD),-- '$(subst ','\'',$(value CMD))')

down: .venv/.ready ## end the lab host and everything around it
	@$(PYTHON) -m lab down

clean: .venv/.ready ## down, and empty the cache
	@$(PYTHON) -m lab clean

lab: .venv/.ready
	@$(PYTHON) -m lab up >&2
	@$(PYTHON) -m stack fetch >/dev/null

docs: .venv/.ready ## write docs/configuration.md anew from the defaults and their types
	@$(PYTHON) -m stack schema --format markdown >docs/configuration.md

requirements: .venv/.ready ## compile the requirements files anew from pyproject.toml
	@scripts/compile-requirements

.venv/.ready: requirements/dev.txt scripts/bootstrap
	@scripts/bootstrap

.venv-bench/.ready: requirements/bench.txt | .venv/.ready
	@rm -rf .venv-bench
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@
