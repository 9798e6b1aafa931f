"""The rules of EPCC's container guide in our words, and for each a command with public tools that checks it again.

`GUIDE` is where it is. The last rules are those of its workflow and of the service's own examples.
"""

from __future__ import annotations

from dataclasses import dataclass

GUIDE = "https://docs.eidf.ac.uk/safe-haven-services/shs-container-user-guide/development-workflow/"


@dataclass(frozen=True)
class Rule:
    """A rule of the guide.

    ``of_image`` and ``of_file`` are the commands that check an image and a Dockerfile again. ``{image}`` is the image
    as skopeo names it, ``{name}`` its name in an engine, ``{file}`` the Dockerfile, ``{built}`` its image.
    """

    key: str
    text: str
    of_image: str
    of_file: str


_CONFIG = "skopeo inspect --config {image}"
_LIST = "podman run --pull always --rm --network none --entrypoint ls {name} -lA"  # not an older image of this name

RULES = (
    Rule(
        "directories",
        "/safe_data, /safe_outputs and /scratch exist, and no file is in them",
        f"{_LIST} /safe_data /safe_outputs /scratch",
        "grep -n 'mkdir.*/safe_data /safe_outputs /scratch' {file}",
    ),
    Rule(
        "recorded",
        "What defines the image is under version control",
        "git log -1 -- datasets.yml",
        "git log -1 --format=%H -- {file}",
    ),
    Rule(
        "base",
        "It starts from a well-known base on a public registry, which stays as it is",
        "skopeo inspect --raw {image} | jq -r '.annotations[\"org.opencontainers.image.base.name\"]'",
        "grep -n -e '^ARG BASE' -e '^FROM' {file}",
    ),
    Rule(
        "no data",
        "No data files are in the image",
        f"{_CONFIG} | jq -r '.config.Env[]' | grep DATAPACK_DATASET",
        "grep -n -e '^COPY.* data/' -e '^COPY.* /dataset' -e '^COPY data/' {file}",
    ),
    Rule(
        "complete",
        "Everything that it needs is in it, with the licences; it downloads nothing when it runs",
        f"{_CONFIG} | jq -r '.config.Labels[\"org.opencontainers.image.licenses\"], .config.Env[]'",
        "grep -n -e licenses -e HF_HUB_OFFLINE {file}",
    ),
    Rule(
        "user",
        "It runs as a user without privileges, where possible",
        f"{_CONFIG} | jq .config.User",
        "trivy config --severity HIGH {file}",
    ),
    Rule(
        "pinned",
        "Every base has its registry, tag and digest",
        "skopeo inspect --raw {image} | jq '.annotations | with_entries(select(.key | contains(\"base\")))'",
        "grep -n -e '^ARG BASE' -e '^FROM' {file}",
    ),
    Rule(
        "grouped",
        "Related commands are in one RUN",
        f"{_CONFIG} | jq -r '.history[].created_by'",
        "grep -n -A1 '^RUN' {file}",
    ),
    Rule(
        "copied", "Files come by COPY, not by ADD", f"{_CONFIG} | jq -r '.history[].created_by'", "grep -nw ADD {file}"
    ),
    Rule(
        "stages",
        "It is built in several stages, where that makes it smaller",
        f"{_CONFIG} | jq -r '.history[].created_by'",
        "grep -n '^FROM' {file}",
    ),
    Rule(
        "minimal",
        "The last stage has a minimal base",
        "skopeo inspect --raw {image} | jq -c '[.layers[].size]'",
        "grep -n -e '^ARG BASE' -e '^FROM' {file}",
    ),
    Rule(
        "linted",
        "A linter such as Hadolint checks the Dockerfile",
        "hadolint docker/data/Dockerfile",
        "hadolint {file}",
    ),
    Rule(
        "offline",
        "It was tested without a network",
        'podman run --pull always --rm --network none --read-only -v "$(mktemp -d)":/safe_outputs {name}',
        "podman run --rm --network none {built} --help",
    ),
    Rule(
        "platform",
        "It is for linux/amd64",
        f"{_CONFIG} | jq -r '.os, .architecture'",
        "grep -rn 'platform linux/amd64' scripts/images.sh",
    ),
    Rule(
        "unique tag",
        "Its tag is unique and says which version it is, not only latest",
        f"{_CONFIG} | jq -r '.config.Labels[\"org.opencontainers.image.version\"]'",
        "grep -n '^ARG .*_VERSION=' {file}",
    ),
    Rule(
        "version",
        "An ARG or ENV of the Dockerfile names the version",
        f"{_CONFIG} | jq -r '.config.Env[]' | grep DATAPACK_DATASET",
        "grep -n '^ARG .*_VERSION=' {file}",
    ),
    Rule(
        "scanned",
        "It is scanned, by Trivy for example, and its SBOM is kept",
        "skopeo copy {image} oci:copy && trivy image --input copy --format cyclonedx",
        "trivy config {file}",
    ),
    Rule(
        "executables",
        "Programs belong to root, and nobody can change them",
        f"{_LIST} /usr/local/bin",
        "grep -n '^COPY' {file}",
    ),
    Rule(
        "starts",
        "It starts from ENTRYPOINT or CMD and asks nothing",
        f"{_CONFIG} | jq -c '.config.Entrypoint, .config.Cmd'",
        "grep -n -e '^ENTRYPOINT' -e '^CMD' {file}",
    ),
    Rule(
        "temporary files",
        "Temporary files go to /scratch: TMP says so, if anything reads it",
        f"{_CONFIG} | jq -r '.config.Env[]' | grep ^TMP",
        "grep -n TMP=/scratch {file}",
    ),
    Rule(
        "inputs",
        "Names of input files are not in the image: a configuration in /safe_data has them",
        f"{_CONFIG} | jq -c '.config.Entrypoint, .config.Cmd'",
        "grep -n -e '^ENTRYPOINT' -e '^CMD' {file}",
    ),
)
# Reasons that are the same wherever they are given.
EXCEPTION = "an import container is there to carry data: the agreed exception, which governance must confirm for it"
MODEL_EXCEPTION = "it carries the weights of a model, as the guide asks of what a program needs; no image of the data"
ROOT_REASON = (
    "no USER, so root: rootless Podman maps root to the researcher, and a fixed other user could not write "
    "/safe_outputs. It also runs as any other user, and on a read-only root file system"
)
