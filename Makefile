# `make bench` and `make test` each do all of their own set-up; everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What a sweep reads; `make bench DATASET=food BACKBONES=all` passes through.
DATASET ?= digits
BACKBONES ?= starter,scratch
FREEZE ?= all,all-1
SWEEP_OPTIONS ?=

# The GPU build where a driver answers, the CPU build elsewhere: same pins otherwise.
LOCK := $(if $(shell nvidia-smi -L 2>/dev/null),gpu,bench)

, := ,

.PHONY: bench install dev test test-unit test-slow test-cluster test-nightly check format benchmark reference lock clean

bench: install
	@$(BIN)/backbench sweep --dataset "$(DATASET)" --backbones "$(BACKBONES)" --freeze "$(FREEZE)" $(SWEEP_OPTIONS)

install: $(VENV)/.$(LOCK)

dev: $(VENV)/.dev

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "backbench needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV)

# Hash-checked pins first, then the project itself on top, without reaching for anything more. Bytecode is compiled by all
# cores, which pip does not do; what does not compile (templates, code for other versions) is of no concern.
define install_locked
	@echo "installing $(1) into $(VENV) (about a minute, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement requirements/$(2).txt
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/.$(LOCK): requirements/$(LOCK).txt pyproject.toml | $(VENV)/bin/pip
	$(call install_locked,backbench,$(LOCK))

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/pip
	$(call install_locked,backbench and its development tools,dev)
	@touch $(VENV)/.bench  # which is a part of it; a GPU build is not

# A process for each core; the tests of a file stay together, since they share what is made once.
PARALLEL := -n logical --dist loadfile

# The inner loop, a minute: what needs no framework.
test-unit: dev
	$(BIN)/pytest -q -m "not slow and not nightly" $(PARALLEL) tests/unit --ignore tests/unit/backbones --ignore tests/unit/features --ignore tests/unit/evaluation

test: dev
	$(BIN)/pytest -m "not slow and not nightly and not cluster" $(PARALLEL)

test-slow: dev
	$(BIN)/pytest -m "slow" $(PARALLEL)

# All backbones, kills at every moment and half an hour of injected faults; goes on where it was cut off. No part of CI;
# what it came to is committed as benchmarks/nightly.json.
test-nightly: dev
	$(BIN)/python benchmarks/nightly.py

# Ray, which nothing else needs, on top of the development tools.
test-cluster: $(VENV)/.cluster
	$(BIN)/pytest -m cluster

$(VENV)/.cluster: requirements/cluster.txt $(VENV)/.dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/cluster.txt
	@touch $@

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each writes its JSON beside itself, the last a page of them all; nothing else may run meanwhile. An hour or two on 2 cores.
MEASURED := $(BIN)/python benchmarks
CELL := $(MEASURED)/frozen_cell.py --dataset "$(DATASET)" --backbone starter --image-size 160 --limit 300
benchmark: install
	$(MEASURED)/freeze_depth.py --dataset "$(DATASET)"
	$(CELL)
	$(CELL) --engine openvino --out benchmarks/frozen_cell_openvino.json
	$(MEASURED)/engines.py --dataset "$(DATASET)"
	$(MEASURED)/decoding.py
	$(MEASURED)/growth.py
	$(MEASURED)/large.py
	$(MEASURED)/precision.py
	$(MEASURED)/report_speed.py
	$(if $(shell nvidia-smi -L 2>/dev/null),$(MEASURED)/gpu.py)
	$(MEASURED)/page.py

# The committed runs: GROCERY names the folder of photos; without it only digits is done. The photos stay out of the page.
KEPT := leaderboard.html table.csv table.parquet plots
ON_PHOTOS := $(BIN)/backbench sweep --dataset $(GROCERY) --image-size 160 --engine keras --precision float32 --no-images --seeds 3 --out build/reference/grocery
reference: install
	$(BIN)/backbench sweep --backbones starter,scratch --seeds 3 --fresh --out build/reference/digits
	$(if $(GROCERY),$(ON_PHOTOS) --backbones MobileNetV2 --freeze all$(,)all-1 --seeds 5 --fresh)
	$(if $(GROCERY),$(ON_PHOTOS) --backbones MobileNet$(,)scratch --freeze all$(,)all-1)
	$(if $(GROCERY),$(ON_PHOTOS) --backbones Xception --freeze all)
	$(if $(GROCERY),$(ON_PHOTOS) --backbones MobileNetV2 --weights none --freeze all)
	for name in digits $(if $(GROCERY),grocery); do \
		rm -rf results/reference/$$name && mkdir -p results/reference/$$name && \
		(cd build/reference/$$name && cp -r $(KEPT) ../../../results/reference/$$name/); done
	$(BIN)/python benchmarks/readme_numbers.py

# Renews the pins; run it when pyproject.toml changes or once in a while.
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
lock:
	$(COMPILE) --upgrade --extra mirrors --extra openvino --extra dev --output-file requirements/dev.txt
	$(COMPILE) --upgrade --constraint requirements/dev.txt --extra mirrors --extra openvino --output-file requirements/bench.txt
	$(COMPILE) --upgrade --constraint requirements/dev.txt --extra mirrors --extra openvino --extra gpu --output-file requirements/gpu.txt
	echo 'ray>=2.47' | $(subst pyproject.toml,-,$(COMPILE)) --upgrade --constraint requirements/dev.txt --output-file requirements/cluster.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
