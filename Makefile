# The developer's whole interface. Everything is installed into .venv; system packages only where we are root.
PYTHON ?= python3
BIN := .venv/bin
ENGINE ?= $(firstword $(foreach engine,podman docker,$(shell command -v $(engine))))
IMAGES := nv-pyt pyt piped-pyt

.PHONY: help demo test test-images lint bench docs schema reference pin images scan clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## build the example's import container, run it, then install PyTorch and train on what it imported
	@examples/demo.sh

test: .venv/train  ## run every test
	@scripts/system-packages.sh bubblewrap busybox-static btrfs-progs docker-registry docker.io git openssl podman runc shellcheck skopeo uidmap
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

test-images: .venv/train  ## build the trainers' images on stand-ins and rehearse them: 40 GB of disk, a quarter of an hour
	@scripts/system-packages.sh busybox-static mmdebstrap podman runc skopeo uidmap
	PATH="$(CURDIR)/$(BIN):$$PATH" TRAINER_IMAGES=1 $(BIN)/python -m pytest tests/containers/test_trainer_images.py $(ARGS)

lint: .venv/train  ## ruff, mypy, shellcheck and hadolint
	@scripts/system-packages.sh shellcheck
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	shellcheck datapack/import.sh examples/demo.sh scripts/*.sh .ci/run
	$(BIN)/hadolint --ignore DL3008 docker/*/Dockerfile

bench: .venv/train  ## measure us and what people use today, side by side
	@scripts/system-packages.sh aria2 bubblewrap busybox-static curl docker-registry docker.io nginx-light podman runc skopeo uidmap
	$(BIN)/python -m benchmarks $(ARGS)

docs: .venv/ready  ## write the pages of docs/ to build/docs
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m mkdocs build --quiet --strict

schema: .venv/ready  ## write the JSON Schema of datasets.yml anew
	$(BIN)/python -m datapack.catalog > datapack/datasets.schema.json

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

.venv/dev: .venv/ready  # what tests and linters need besides, without PyTorch
	@scripts/pip-install.sh .venv/pip.log --upgrade "pip>=25.1"
	@scripts/pip-install.sh .venv/dev.log --group test --group lint
	@touch $@

.venv/train: .venv/ready  # PyTorch with CUDA takes 5.5 GB: only the targets that train or test the trainers need it
	@scripts/pip-install.sh .venv/train.log --editable .[train]
	@touch $@
