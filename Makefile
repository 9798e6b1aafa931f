# The developer's whole interface. Everything is installed into .venv; system packages only where we are root.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
ENGINE ?= $(firstword $(foreach engine,podman docker,$(shell command -v $(engine))))
IMAGES := nv-pyt pyt piped-pyt

# Without PyTorch, mypy checks datapack alone; without shellcheck, which pip has not, scripts are not checked, except in CI.
define LINT
$(BIN)/ruff check
$(BIN)/ruff format --check
$(BIN)/mypy $(if $(wildcard .venv/train),,--package datapack)
@if command -v shellcheck >/dev/null; then set -x; \
	shellcheck datapack/cli/completion.bash datapack/image/import.sh examples/demo.sh scripts/*.sh .ci/run; \
else test "$$DATAPACK_REQUIRE_ENGINES" != 1; fi
$(BIN)/hadolint --ignore DL3008 docker/*/Dockerfile
endef
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

.NOTPARALLEL:
.PHONY: help demo check test test-images lint bench docs schema reference pin images scan clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## build the example's import container, run it, then install PyTorch and train on what it imported
	@examples/demo.sh

check: .venv/dev  ## lint, and the tests that need no container engine, no PyTorch and no network: under two minutes
	@scripts/system-packages.sh docker-registry git openssl shellcheck skopeo
	$(LINT)
	$(PYTEST) -m "not (engine or torch or slow)" $(ARGS)

test: .venv/dev .venv/train  ## run every test; a part of them: make test ARGS="-k manifest"
	@scripts/system-packages.sh bubblewrap busybox-static btrfs-progs docker-registry docker.io git openssl podman runc shellcheck skopeo uidmap
	$(PYTEST) $(ARGS)

test-images: .venv/dev .venv/train  ## build the trainers' images on stand-ins and rehearse them: 40 GB of disk, a quarter of an hour
	@scripts/system-packages.sh busybox-static mmdebstrap podman runc skopeo uidmap
	PATH="$(CURDIR)/$(BIN):$$PATH" TRAINER_IMAGES=1 $(BIN)/python -m pytest tests/containers/test_trainer_images.py $(ARGS)

lint: .venv/dev .venv/train  ## ruff, mypy, shellcheck and hadolint
	@scripts/system-packages.sh shellcheck
	$(LINT)

bench: .venv/dev .venv/train  ## measure us and what people use today, side by side
	@scripts/system-packages.sh aria2 bubblewrap busybox-static curl docker-registry docker.io nginx-light podman runc skopeo uidmap
	$(BIN)/python -m benchmarks $(ARGS)

docs: .venv/dev  ## write the pages of docs/ to build/docs
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m mkdocs build --quiet --strict

schema: .venv/ready  ## write the JSON Schema of datasets.yml anew
	$(BIN)/python -m datapack.catalog.schema > datapack/catalog/datasets.schema.json

reference: .venv/ready  ## write the table of train.yml in docs/training.md anew
	sed -i '/^<!-- made by/q' docs/training.md
	$(BIN)/python -m trainers.config >> docs/training.md

pin: .venv/ready  ## write the digests that the bases have in their registries now into datasets.yml and the Dockerfiles
	$(BIN)/datapack base
	$(BIN)/python scripts/pin_bases.py docker/*/Dockerfile

images: .venv/ready  ## build the trainers' images with podman or docker (ENGINE=...), or some of them (IMAGES=pyt)
	$(BIN)/datapack fetch resnet50@imagenet1k-v2
	scripts/images.sh $(ENGINE) $(IMAGES)

scan:  ## list what is in the trainers' images (an SBOM each, in build/sbom) and what of it is known to be vulnerable: needs Trivy
	scripts/scan.sh $(ENGINE) build/sbom $(IMAGES)

clean:  ## remove what the targets above made
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml  # datapack alone
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@scripts/pip-install.sh .venv/ready.log --editable .
	@touch $@

.venv/dev: .venv/ready  # and what tests and linters need, without PyTorch
	@scripts/pip-install.sh .venv/pip.log --upgrade "pip>=25.1"
	@scripts/pip-install.sh .venv/dev.log --editable .[trainers-common] --group test --group lint
	@touch $@

.venv/train: .venv/ready  # PyTorch with CUDA takes 5.5 GB: only the targets that train or test the trainers need it
	@scripts/pip-install.sh .venv/train.log --editable .[train]
	@touch $@
