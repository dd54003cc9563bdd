# One word each; every target sets up what it needs. `make demo` and `make test` work on a fresh clone with nothing but
# Python 3.11, make, git and (for the control plane) Go, which comes from a Python package when it is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo playground test check check-static unit coverage bench bench-quick bench-size accuracy kind lws node demo-engine fuzz engine-config engine-manifests engine-attention test-engine release-drill docs shown dist hooks clean venv assets requirements \
	unit-running unit-deciding unit-estimator unit-outside

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.plimsoll-$(shell cat requirements-dev.txt pyproject.toml | cksum | cut -d' ' -f1)
WORK := .work
PYTEST := $(BIN)/python -m pytest -q -p no:cacheprovider
JOBS ?= auto

help: ## what there is to make, in one line each
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name says; do printf '%-17s %s\n' "$$name" "$$says"; done
	@echo; echo "New here? make demo, then make playground. Changing something? make check, then CONTRIBUTING.md."

# Compiled modules are kept, pytest's as well, whatever the shell says of it: else each process compiles all it imports, every time.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(WORK)/pycache

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "plimsoll needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(STAMP): requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "installing the pinned development requirements into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP) ## the pinned development requirements

assets: $(STAMP) ## the control plane's programs: found, fetched or built once
	@$(BIN)/python -m tests.controlplane

check-static: $(STAMP) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tools.sizes

unit: $(STAMP) ## the unit tests while you wait: a tenth of each law's examples, without what takes a second and more
	+@$(MAKE) --no-print-directory -k -j$(shell getconf _NPROCESSORS_ONLN) $(if $(filter output-sync,$(.FEATURES)),-Otarget) $(UNIT_PARTS)

# Four processes, each with folders of its own, and the longest first: workers that share one list collect all of it each, and spend as
# much on telling each other of ten thousand short tests as the tests take.
UNIT_PARTS := unit-running unit-deciding unit-estimator unit-outside
OPERATOR_TESTS := $(wildcard tests/plimsoll_operator/*/)
DECIDING := $(filter %/api/ %/capacity/ %/cli/ %/decision/ %/policies/ %/rendering/,$(OPERATOR_TESTS))
unit-running: TESTS := $(filter-out $(DECIDING) %/__pycache__/,$(OPERATOR_TESTS))
unit-deciding: TESTS := $(DECIDING)
unit-estimator: TESTS := tests/plimsoll_estimator
unit-outside: TESTS := tests --ignore=tests/plimsoll_operator --ignore=tests/plimsoll_estimator --ignore=tests/e2e
$(UNIT_PARTS): $(STAMP)
	$(PYTEST) -m "not e2e and not thorough" --hypothesis-profile=quick $(TESTS)

# In CI's profile, Hypothesis has no deadlines: the first call of a function that is counted is slow.
coverage: $(STAMP) ## the unit tests, and the floor under which lines of the two packages they run
	@mkdir -p $(WORK)
	CI=true $(BIN)/python -m slipcover --source estimator,operator --json --out $(WORK)/coverage.json \
		-m pytest -q -p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning -m "not e2e and not uninstrumented" --ignore=tests/e2e -n $(JOBS)
	@$(BIN)/python -m tools.coverage_floor $(WORK)/coverage.json
	$(PYTEST) -m uninstrumented tests/plimsoll_estimator tests/plimsoll_operator

check: check-static unit ## what to run before each commit

test: check-static assets coverage bench-quick ## lint, types and contracts, then unit and end-to-end tests
	$(PYTEST) -m e2e tests/e2e

demo: | $(BIN)/python ## answers for every example at once, then the whole way with real output
	@$(BIN)/python tests/e2e/first_look.py
	$(BIN)/python -m tests.e2e.demo

playground: assets ## a cluster to try things on, with Plimsoll and fake GPUs, until Ctrl-C; says what to try
	@exec $(BIN)/python -m tests.e2e.playground

bench: $(STAMP) ## benchmarks: CPU time held to floors of the same run, so that no machine is too slow or too busy for them
	$(PYTEST) -s tests/bench/bench_*.py

bench-quick: $(STAMP) ## those of them that hold what most answers and looks cost, whatever the cluster has
	$(PYTEST) -s tests/bench/bench_looks.py tests/bench/bench_repeated_review.py

bench-size: assets ## thousands of deployments on a real API server, beside a bare client and a trivial handler; COUNT=1000, NODES=1000, REST=60 seconds, ONLY="webhook pools"
	@$(BIN)/python -m tests.bench.size --count $(or $(COUNT),1000) --nodes $(or $(NODES),1000) --rest $(or $(REST),60) $(addprefix --only ,$(ONLY))

accuracy: $(STAMP) ## predictions against what vLLM reported
	@$(BIN)/python -m tools.accuracy

release-drill: $(STAMP) ## what a release of vLLM changes; VERSION=0.34.0, and WHEEL=, ENGINE_PYTHON=, KERNELS=1, CASES=60 where there is one
	@test -n "$(VERSION)" || { echo "which release? make release-drill VERSION=0.34.0"; exit 2; }
	@$(BIN)/python -m tools.release_drill $(VERSION) --work $(WORK)/releases $(if $(WHEEL),--wheel "$(WHEEL)") \
	  $(if $(ENGINE_PYTHON),--python "$(ENGINE_PYTHON)") $(if $(KERNELS),--kernels) $(if $(CASES),--cases $(CASES))

kind: $(STAMP) ## the end-to-end tests on a kind cluster; needs a container engine
	@$(BIN)/python -m tests.e2e.kind

lws: assets ## replicas over several nodes with the real LeaderWorkerSet, built once
	$(PYTEST) tests/e2e/with_lws.py

node: $(STAMP) ## the image and the chart on a real node: kubelet, containerd, no container engine; root and cgroup v1
	@$(BIN)/python -m tests.controlplane.node $(TESTS)

demo-engine: $(STAMP) ## real vLLM on that node, from the manifest to the answer; ENGINES="0.25.1=PYTHON 0.32.0=PYTHON", each with its CPU build
	@$(BIN)/python -m tests.controlplane.node --engines $(ENGINES)

fuzz: assets ## random objects of three tenants on a real control plane; MINUTES=20, SEED= of an earlier run
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED))

DOCS := $(WORK)/docs-venv/.plimsoll-$(shell cksum < docs/site/requirements.txt | cut -d' ' -f1)
$(DOCS): docs/site/requirements.txt
	@"$(PYTHON)" -m venv $(WORK)/docs-venv
	@$(WORK)/docs-venv/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

docs: $(DOCS) ## README.md and docs/ as a site in .work/docs/site; a link that leads nowhere fails it
	@$(WORK)/docs-venv/bin/python docs/site/build.py

shown: $(STAMP) ## write what the command prints into the pages and screens that show it
	@$(BIN)/python -m tools.api_page
	@$(BIN)/python -m tools.reason_page
	@$(BIN)/python -m tools.prediction_page
	@$(BIN)/python -m tools.support_page
	@$(BIN)/python -m tools.shown_output
	@$(BIN)/python -m tests.plimsoll_operator.cli.fit_world
	@$(BIN)/python -m tests.plimsoll_operator.cli.screens
	@$(BIN)/python -m tests.plimsoll_operator.cli.observe_screens
	@$(BIN)/python -m tests.plimsoll_operator.cli.public_manifests
	@$(BIN)/python -m tests.engine.manifests
	@$(BIN)/python -m tools.import_page
	@$(BIN)/python -m tests.bench.size.page

dist: assets ## wheel, source distribution and chart of this checkout, with checksums
	@rm -rf dist && $(BIN)/python -m hatchling build -d dist
	@$(BIN)/python -m tests.controlplane helm package deploy/helm/plimsoll -d dist
	@cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS

hooks: $(STAMP) ## what check-static says, at each commit
	@$(BIN)/python -m venv $(WORK)/pre-commit && $(WORK)/pre-commit/bin/python -m pip install -q --disable-pip-version-check pre-commit==4.7.0
	@$(WORK)/pre-commit/bin/pre-commit install

engine-config: $(STAMP) ## random wishes through a release's own configuration; ENGINE=python that has it, RELEASE=0.19.1, SEED= of an earlier run
	@$(BIN)/python -m tests.engine --python "$(ENGINE)" --release "$(RELEASE)" --each $(or $(EACH),200) $(if $(SEED),--seed $(SEED))

engine-manifests: $(STAMP) ## the lists of the manifests that are kept through a release's own configuration; ENGINE=python that has it, RELEASE=0.19.1
	@$(BIN)/python -m tests.engine.manifests --python "$(ENGINE)" --release "$(RELEASE)"

engine-attention: $(STAMP) ## which attention backends a release takes, asked of its own classes; ENGINE=python that has it, RELEASE=0.19.1
	@"$(ENGINE)" -B tests/engine/attention.py "$(RELEASE)" > tests/data/attention_backends/$(RELEASE).json

test-engine: $(STAMP) ## real engines on this machine's CPU from commands that are rendered; ENGINES="0.19.1=PYTHON 0.32.0=PYTHON", each with its CPU build
	@$(BIN)/python -m tests.engine.start $(ENGINES)

requirements: ## pin the development requirements anew
	@"$(PYTHON)" -m venv $(WORK)/pin && $(WORK)/pin/bin/python -m pip install -q --upgrade pip
	@$(WORK)/pin/bin/python -m pip install -q -e '.[all]' --group dev hatchling editables
	@{ sed -n '/^#/p' requirements-dev.txt; $(WORK)/pin/bin/python -m pip freeze --exclude-editable; } > $(WORK)/requirements && mv $(WORK)/requirements requirements-dev.txt
	@rm -rf $(WORK)/pin

clean: ## everything made in this checkout; the built control plane stays in the user's cache
	rm -rf $(VENV) $(WORK) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
