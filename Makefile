# The developer's whole interface. Everything is installed into .venv; system packages only if we are root.
PYTHON ?= python3
BIN := .venv/bin
# One worker more than cores, as the tests of engines and servers wait a lot; at most 8, as each may import PyTorch.
WORKERS ?= $(shell [ $$(nproc) -lt 7 ] && expr $$(nproc) + 1 || echo 8)
ENGINE ?= $(firstword $(foreach engine,podman docker,$(shell command -v $(engine))))
IMAGES := nv-pyt pyt piped-pyt tf

# Without PyTorch, mypy checks only datapack. Without shellcheck, which pip can't install, scripts are not checked, except in CI.
define LINT
$(BIN)/ruff check
$(BIN)/ruff format --check
$(BIN)/mypy $(if $(wildcard .venv/train),,--package datapack)
@if command -v shellcheck >/dev/null; then set -x; \
	shellcheck datapack/cli/completion.bash datapack/image/*.sh examples/demo.sh scripts/*.sh .ci/run; \
else test "$$DATAPACK_REQUIRE_ENGINES" != 1; fi
$(BIN)/hadolint --ignore DL3008 docker/*/Dockerfile
endef
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

.NOTPARALLEL:
.PHONY: help demo demo-tf check test test-images lint bench gpu docs schema reference pin images scan clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## build the example's import container, run it, then install PyTorch and train on the imported data
	@examples/demo.sh

demo-tf:  ## build and run the example's import container, then install TensorFlow and train on the imported data
	@examples/demo.sh tf

check: .venv/dev  ## lint, and the tests that need no container engine, no registry, no framework and no network: a few minutes
	@scripts/system-packages.sh git shellcheck
	$(LINT)
	$(PYTEST) -m "not (engine or registry or torch or tf or slow)" $(ARGS)

test: .venv/dev .venv/train .venv/tf  ## run every test, or some of them: make test ARGS="-k manifest"
	@scripts/system-packages.sh busybox-static btrfs-progs docker-registry docker.io fish git mmdebstrap openssl podman runc shellcheck skopeo uidmap zsh
	$(PYTEST) $(ARGS)

test-images: .venv/dev .venv/train  ## build the trainer images on stand-in bases and rehearse them: needs 60 GB of disk and 30 minutes
	@scripts/system-packages.sh busybox-static mmdebstrap podman runc skopeo uidmap
	PATH="$(CURDIR)/$(BIN):$$PATH" TRAINER_IMAGES=1 $(BIN)/python -m pytest tests/containers/test_trainer_images.py tests/containers/test_model_image.py $(ARGS)

lint: .venv/dev .venv/train .venv/tf  ## ruff, mypy, shellcheck and hadolint
	@scripts/system-packages.sh shellcheck
	$(LINT)

bench: .venv/dev .venv/train  ## compare datapack with the tools people use today
	@scripts/system-packages.sh aria2 bubblewrap busybox-static curl docker-registry docker.io nginx-light podman runc skopeo uidmap
	$(BIN)/python -m benchmarks $(ARGS)

gpu: .venv/dev .venv/train  ## check and measure the trainers on a GPU, in six minutes; without one it only shows that it works
	$(BIN)/python -m benchmarks.gpu $(ARGS)

docs: .venv/dev  ## write the pages of docs/ to build/docs
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/zensical build --strict

schema: .venv/ready  ## generate the JSON Schema of datasets.yml
	$(BIN)/python -m datapack.catalog.schema > datapack/catalog/datasets.schema.json

reference: .venv/ready  ## generate the table of train.yml in docs/reference/configuration.md, and docs/reference/findings.md
	sed -i '/^<!-- made by/q' docs/reference/configuration.md
	$(BIN)/python -m trainers.config >> docs/reference/configuration.md
	$(BIN)/python -m datapack.inspect.reference > docs/reference/findings.md

pin: .venv/ready  ## write the current digests of all base images into datasets.yml and the Dockerfiles
	$(BIN)/datapack base
	$(BIN)/python scripts/pin_bases.py $(filter-out docker/model/Dockerfile,$(wildcard docker/*/Dockerfile))

images: .venv/ready  ## build the trainer images with podman or docker (ENGINE=...), or some of them (IMAGES=pyt)
	$(if $(filter-out tf,$(IMAGES)),$(BIN)/datapack fetch resnet50@imagenet1k-v2)
	scripts/images.sh $(ENGINE) $(IMAGES)

scan:  ## write an SBOM of each trainer image to build/sbom, and list its known vulnerabilities: needs Trivy
	scripts/scan.sh $(ENGINE) build/sbom $(IMAGES)

clean:  ## remove everything that the other targets created
	rm -rf .venv .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml  # datapack alone
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@scripts/pip-install.sh .venv/ready.log --editable .
	@touch $@

.venv/dev: .venv/ready  # plus what tests and linters need, without PyTorch
	@scripts/pip-install.sh .venv/pip.log --upgrade "pip>=25.1"
	@scripts/pip-install.sh .venv/dev.log --editable .[trainers-common,huggingface,onnx,parquet,s3,gs] --group test --group lint
	@touch $@

.venv/train: .venv/ready  # PyTorch with CUDA takes 5.5 GB: only the targets that train or test the trainers need it
	@scripts/pip-install.sh .venv/train.log --editable .[train]
	@touch $@

.venv/tf: .venv/ready  # TensorFlow takes 2.2 GB: as .venv/train. KerasHub asks for TensorFlow Text, which no detector needs
	@scripts/pip-install.sh .venv/tf.log --editable .[train-tf]
	@scripts/pip-install.sh .venv/keras-hub.log --no-deps "keras-hub>=0.32,<0.33"
	@touch $@
