# make run    train a SUGAR model from nothing: .venv, the whole chain, the results
# make test   the same set-up, then the tests
# Python: the first of python3.11 and python3 that is 3.11 or later and has venv, or PYTHON=...

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# One stamp for each content of the files that say what is installed.
STAMP := .venv/.installed-$(shell cat constraints.txt pyproject.toml | sha256sum | cut -c1-16)
# What the stages call must be found first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export GX_ANALYTICS_ENABLED := false
PROFILE_STAGES := source synthesize ingest validate encode pretrain finetune evaluate register

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: setup
setup: $(STAMP)  ## .venv with every package of constraints.txt

# torch first: other packages look for it while they are built.
$(STAMP): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 with venv found; install it or say PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@rm -f .venv/.installed-*
	@touch $@

.PHONY: run
run: $(STAMP)  ## the whole chain on Sprite World, then the results (the second time does nothing)
	@dvc repro
	@sugar results

NAME ?= design_a
.PHONY: ablation
ablation: $(STAMP)  ## train NAME=design_a (`ablations` in params.yaml) and compare it with the default model
	@dvc repro ablations/dvc.yaml:evaluate@$(NAME)
	@sugar results --ablation $(NAME)

.PHONY: smoke
smoke: $(STAMP)  ## every stage in under two minutes, below .smoke (nothing learns)
	@for stage in $(PROFILE_STAGES); do sugar $$stage --profile smoke; done
	@sugar results --profile smoke

.PHONY: test
test: $(STAMP)  ## the tests
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile

.PHONY: test-slow
test-slow: $(STAMP)  ## the slow tests: two ranks killed and stopped under every ZeRO stage, whole generators, ...
	@OMP_NUM_THREADS=1 python -m pytest -m slow

.PHONY: check
check: $(STAMP)  ## lint, format, types, import directions
	ruff check .
	ruff format --check .
	basedpyright
	lint-imports

.PHONY: ui
ui: $(STAMP)  ## MLflow on http://127.0.0.1:5000: every number, video and checkpoint
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

.PHONY: studio
studio: $(STAMP)  ## make videos with the trained model on a web page: http://127.0.0.1:8765
	@sugar studio

.PHONY: pipeline
pipeline: $(STAMP)  ## compile pipelines/sugar_tsf.yaml and pipelines/shards.yaml again
	python -m pipelines.sugar_tsf
	python -m pipelines.shards

DOCKER ?= docker
IMAGES ?= cpu cuda
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# An edited tree says so: an image must not claim a revision that it does not hold.
REVISION = $(shell git describe --always --abbrev=12 --exclude='*' --dirty 2>/dev/null)
.PHONY: images
images:  ## images sugar:VERSION and -cuda (REGISTRY=..., BASE=..., TORCH_INDEX=..., IMAGES=cpu, BUILD_FLAGS=...)
	@for target in $(IMAGES); do \
		tag=$(if $(REGISTRY),$(REGISTRY)/)sugar:$(VERSION); test $$target = cpu || tag=$$tag-$$target; \
		$(DOCKER) build --target $$target --tag $$tag --build-arg GIT_REVISION=$(REVISION) \
			$(if $(BASE),--build-arg BASE=$(BASE)) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) \
			$(BUILD_FLAGS) .; \
		echo "make: built $$tag"; \
	done

.PHONY: constraints
constraints: $(STAMP)  ## write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; \
	   pip freeze --all --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > constraints.tmp
	@mv constraints.tmp constraints.txt

.PHONY: clean
clean:  ## remove .smoke and the tools' caches (what `make run` made stays)
	rm -rf .smoke .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.venv/*' -type d -exec rm -rf {} +
