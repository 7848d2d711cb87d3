# The words a developer types. `make help` lists them.
#
# Everything is set up in .venv from requirements.lock; compiled things are kept in CACHE, outside the
# clone, and nothing is done twice.

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fastft
export CARGO_TARGET_DIR ?= $(CACHE)/target
export HF_HUB_OFFLINE = 1
export HF_HUB_DISABLE_TELEMETRY = 1

PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
UV := $(CACHE)/tools/bin/uv
ENGINE := python/fastft/_engine.abi3.so
KERNELS := python/fastft/_kernels/.built
QUICKSTART := runs/quickstart

.PHONY: help quickstart test lint format build setup bench schema docs lock clean tools
.DEFAULT_GOAL := help

help:  ## list these words
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: build  ## fine-tune the embedded SmolLM2-135M and show three answers before and after
	@$(BIN)/fastft train configs/sft/quickstart.toml --out $(QUICKSTART)
	@$(BIN)/fastft chat $(QUICKSTART) --beside-base --max-tokens 40 --temperature 0 \
		--once "Who are you?" --once "What is the capital of France?" --once "你叫什么名字？"
	@echo
	@echo "Talk to it:  $(BIN)/fastft chat $(QUICKSTART)"
	@echo "Merge it:    $(BIN)/fastft export $(QUICKSTART) --merge runs/tessa"

test: build  ## lint, then all tests of Rust and Python, one summary at the end
	@$(BIN)/python tests/all.py

lint: build  ## what a reviewer should not have to say
	@$(BIN)/python tests/all.py --only lint

format:  ## let the formatters have their way
	@$(BIN)/ruff check -q --fix . && $(BIN)/ruff format -q .
	@cargo fmt
	@find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu' | xargs $(BIN)/clang-format -i

build: $(ENGINE) $(KERNELS)  ## the Rust engine and the compiled ops, into the source tree

setup: .venv/.installed

bench: build  ## every benchmark; results in benches/results
	@$(BIN)/python benches/startup.py
	@$(BIN)/python benches/kernels.py
	@$(BIN)/python benches/data/bench.py
	@$(BIN)/python benches/data/pack.py
	@$(BIN)/python benches/data/scale.py
	@$(BIN)/python benches/tokenizer/bench.py
	@$(BIN)/python benches/train_step.py
	@$(BIN)/python benches/crash.py

schema: build  ## write configs/fastft.schema.json anew
	@$(BIN)/fastft config schema > configs/fastft.schema.json.new && mv configs/fastft.schema.json.new configs/fastft.schema.json

docs: build  ## write docs/reference.md, the page of every config key, anew
	@$(BIN)/fastft config explain --all --markdown > docs/reference.md.new && mv docs/reference.md.new docs/reference.md

lock: $(UV)  ## resolve requirements.lock anew
	@echo 'torch==2.13.0' | $(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --quiet --constraint - --output-file requirements.lock

clean:  ## remove what was built in the clone; caches stay
	@rm -rf .venv python/fastft/_kernels python/fastft/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

tools:
	@missing=; \
	test -n "$(PYTHON)" || missing="$$missing\n  Python >= 3.11:  apt-get install python3 python3-venv"; \
	command -v cargo >/dev/null || missing="$$missing\n  cargo >= 1.89:   apt-get install rustup && rustup default stable"; \
	command -v g++ >/dev/null || missing="$$missing\n  g++:             apt-get install g++"; \
	test -z "$$missing" || { printf "fastft needs what is not on this machine:$$missing\n" >&2; exit 5; }

$(UV): | tools
	@mkdir -p $(CACHE)/tools && $(PYTHON) -m venv $(CACHE)/tools && $(CACHE)/tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.installed: requirements.lock | tools $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@echo "installing requirements.lock into .venv (about 5 GB with torch's CUDA libraries)"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --compile-bytecode --requirement requirements.lock
	@touch $@

$(ENGINE): .venv/.installed Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name '*.rs' -o -name Cargo.toml 2>/dev/null)
	@echo "building the Rust engine"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q python/fastft
	@touch $@

$(KERNELS): .venv/.installed setup.py $(shell find csrc -type f 2>/dev/null)
	@echo "building the compiled ops"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python setup.py build_ops
	@touch $@
