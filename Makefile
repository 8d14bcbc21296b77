# Everything runs in .venv, which is made on first need and kept up to date.
# Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt
DEMO_OUT ?=
BENCH_OUT ?= runs/bench
NODES ?= 100000
ENTRIES ?= 1000000
TRIALS ?= 50
BASE ?=
PAIRS ?= 5
PYTHONS ?= python3.11,python3.12,python3.13
TORCHES ?= 2.5,2.9,2.13
INDEX ?=
WITHOUT_CUDA ?=
CHECKED := daskgnn deploy tests examples $(wildcard benchmarks/*.py)

.DEFAULT_GOAL := help
.PHONY: help env install demo demo-bolt demo-vision test test-cpu test-all test-hosts test-torch chaos golden bench-env bench before-after bench-gradients bench-accuracy bench-samplers bench-pipelines bench-hosts bench-full bench-scale screenshot options docs lint format type check clean base-given

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
		awk -F'|' '{printf "  %-15s %s\n", $$1, $$2}'

env: $(VENV)/.dev  ## Make .venv with everything a developer needs

install: $(VENV)/.run  ## Make .venv with daskgnn and what it needs to run

demo: $(VENV)/.run  ## Partition digits and train GraphSAGE on two local workers
	@out="$(DEMO_OUT)"; n=1; \
	if [ -z "$$out" ]; then \
		out=runs/demo; \
		while [ -e "$$out" ]; do n=$$((n + 1)); out=runs/demo-$$n; done; \
	fi; \
	set -x; $(BIN)/daskgnn train digits --workers 2 --out "$$out"

demo-vision: $(VENV)/.run  ## Train a Vision GNN on digits, two stages on two local workers
	@out="$(DEMO_OUT)"; n=1; \
	if [ -z "$$out" ]; then \
		out=runs/demo-vision; \
		while [ -e "$$out" ]; do n=$$((n + 1)); out=runs/demo-vision-$$n; done; \
	fi; \
	set -x; $(BIN)/daskgnn vision train digits --stages 2 --workers 2 --profile \
		--filename "$$out/log.csv" --out "$$out"

demo-bolt: $(VENV)/.test  ## Load Cora into a Bolt server of its own, train from it, compare with a store
	$(BIN)/python examples/bolt.py

test: $(VENV)/.test  ## Run the tests, but for those marked slow or chaos
	$(BIN)/python -m pytest -m "not slow and not chaos"

test-cpu: $(VENV)/.test  ## Run them, and show the CPU seconds of each (Linux)
	$(BIN)/python benchmarks/test_cpu.py

test-all: $(VENV)/.test  ## Run every test
	$(BIN)/python -m pytest --hypothesis-profile=thorough

test-hosts: $(VENV)/.test  ## Train on three hosts, network namespaces of this machine (root)
	$(BIN)/python -m pytest tests/slow/test_hosts.py

test-torch: $(VENV)/.test  ## Install and train with each Python and torch minor: PYTHONS, TORCHES, INDEX or WITHOUT_CUDA=1
	$(BIN)/python benchmarks/torch_versions.py --python $(PYTHONS) --torch $(TORCHES) \
		$(if $(INDEX),--index $(INDEX)) $(if $(WITHOUT_CUDA),--without-cuda)

chaos: $(VENV)/.test  ## Kill processes, at most TRIALS=50 times for each fault; print a table (an hour)
	$(BIN)/python -m pytest tests/cluster -m chaos
	$(BIN)/python -m pytest tests/chaos --trials $(TRIALS)

base-given:
	$(if $(BASE),@:,$(error give the commit to compare with: make $(MAKECMDGOALS) BASE=<commit>))

golden: base-given $(VENV)/.test  ## Train in 55 configurations here and at BASE=<commit>, compare results (10 minutes)
	$(BIN)/python benchmarks/golden.py $(BASE)

bench-env: $(VENV)/.bench $(VENV)/.pyg  ## Add the systems that benchmarks compare with: DGL, PyG

bench: $(VENV)/.test  ## Measure training (arxiv shape), engine cost and sampler (under 10 minutes)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/training.py --json $(BENCH_OUT)/training-arxiv.json
	$(BIN)/python benchmarks/step_latency.py --repeats 3 --json $(BENCH_OUT)/step-latency.json
	$(BIN)/python benchmarks/sampler.py --json $(BENCH_OUT)/sampler-arxiv.json

before-after: base-given $(VENV)/.test  ## Measure BASE=<commit> and this checkout alternately, PAIRS=5 times (an hour)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/before_after.py $(BASE) --pairs $(PAIRS) \
		--json $(BENCH_OUT)/before-after.json

bench-gradients: $(VENV)/.test  ## Measure the options that combine gradients
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/gradients.py --json $(BENCH_OUT)

bench-accuracy: $(VENV)/.test  ## Measure test accuracy of these options, 5 seeds (hours; resumes)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/gradients.py --only accuracy \
		--results $(BENCH_OUT)/accuracy-of-ways.jsonl --json $(BENCH_OUT)

bench-samplers: $(VENV)/.test  ## Measure samplers against fan-out sampling and peers (under 10 minutes)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/samplers.py --json $(BENCH_OUT)

bench-pipelines: $(VENV)/.test  ## Measure pipelines of stages against their bound and torch's own (6 minutes)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/pipelines.py --json $(BENCH_OUT)/pipelines.json \
		--pictures $(BENCH_OUT)
	$(BIN)/python benchmarks/device_map.py --json $(BENCH_OUT)/device_map.json

bench-hosts: $(VENV)/.test  ## Measure steps over links of 1 Gbit/s and 100 Mbit/s (root; 4 minutes)
	@mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/hosts.py --json $(BENCH_OUT)/hosts.json

bench-scale: $(VENV)/.test  ## Generate, prepare, train a graph larger than its workers' memory: NODES, ENTRIES
	$(BIN)/python benchmarks/scale.py --nodes $(NODES) --entries $(ENTRIES)

bench-full: $(VENV)/.test  ## Measure all of it and write docs/measurements/machines/ (half an hour)
	$(BIN)/python benchmarks/full.py --json $(BENCH_OUT)

screenshot: $(VENV)/.test  ## Take docs/images/live-page.png from a run (needs Chromium)
	$(BIN)/python benchmarks/screenshot.py

options: $(VENV)/.run  ## Write docs/options.md from the declaration of options
	$(BIN)/python -m daskgnn.train.options.options > docs/options.md

lint: $(VENV)/.dev  ## Check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell $(CHECKED) docs *.md

format: $(VENV)/.dev  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.dev  ## Check types
	$(BIN)/mypy

docs: $(VENV)/.docs  ## Build the documentation as a site, in site/
	$(BIN)/python -m mkdocs build --quiet

check: lint type test  ## What must pass before a push

clean:  ## Remove the environment and what tools left behind (runs/ stays)
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "daskgnn needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made $(METADATA)
	$(PIP) -e '.[datasets]'
	@touch $@

$(VENV)/.test: $(VENV)/.made $(METADATA)
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.run

# DGL's newest wheel on the registry; its scripts stand in for what is older in it.
$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --no-deps dgl==2.1.0
	@touch $@

# Compiled from source, in some minutes, against the torch that is installed.
$(VENV)/.pyg: $(VENV)/.test
	$(PIP) setuptools wheel
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		torch-scatter==2.1.2 torch-sparse==0.6.18 && touch $@ || \
		echo "PyG cannot be measured: torch-sparse was not built" >&2

$(VENV)/.docs: $(VENV)/.made $(METADATA)
	$(PIP) -e '.[datasets,docs]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(VENV)/.made $(METADATA)
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.run $(VENV)/.test
