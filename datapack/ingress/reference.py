"""Write the reviewer's page, ``docs/reference/container-guide.md``: ``python -m datapack.ingress.reference``.

It is made from the Dockerfiles of this repository, so it runs in a checkout of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.ingress.dockerfile import Dockerfile
from datapack.ingress.dockerfile_rules import DockerfileJudge
from datapack.ingress.guide import GUIDE, RULES
from datapack.ingress.markdown import table
from datapack.ingress.sections import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.ingress.record import GuideResult

IMAGES = {
    "data": "The import container of a dataset. `datapack build` makes the same files without an engine.",
    "nv-pyt": "The trainers on NVIDIA's PyTorch.",
    "pyt": "The trainers on the PyTorch project's own image.",
    "piped-pyt": "The trainers on Python's own image, with PyTorch from pip.",
    "tf": "The trainers on TensorFlow's own image.",
    "model": "A ready-to-run model, on a trainer image that is chosen when it is built.",
}
_START = f"""\
# The container guide, rule by rule

What [EPCC's container guide]({GUIDE})
asks of an image for a Safe Haven, and whether ours do it. For each image: the rule in our words, the result, our
evidence, and a command with public tools that checks it again. Run it in a checkout of this repository. A command that
prints nothing has found nothing.

- *met*: the evidence shows it.
- *not met*: it is not so, and the evidence says why.
- *not read*: the Dockerfile alone can't show it.

`make reference` writes this page from the Dockerfiles, and a test compares them.
[`datapack ingress`](commands.md#datapack-ingress) writes the same table for an image at hand,
from its own configuration and files.

Two rules are not met on purpose. Governance must agree to them:

- **No data files in the image.** An import container is there to carry data. This is the agreed exception for it.
- **A user without privileges.** The images have no `USER`. Rootless Podman maps root in the container to the
  researcher, who has no special rights outside; a fixed other user could not write `/safe_outputs`. The images also run
  as any other user, and on a read-only root file system: `datapack run --strict` rehearses that.
"""


def reference(root: Path) -> str:
    """Return the page in Markdown; ``root`` is the top of the repository."""
    results = {name: _results(root, name) for name in IMAGES}
    return "\n".join([_START, *_overview(results), *_images(results)])


def _results(root: Path, name: str) -> tuple[GuideResult, ...]:
    path = f"docker/{name}/Dockerfile"
    return DockerfileJudge(Dockerfile.read(root / path, path)).results()


def _overview(results: dict[str, tuple[GuideResult, ...]]) -> Iterator[str]:
    yield "## All images\n"
    rows = [((rule.text,), *((results[name][number].status,) for name in IMAGES)) for number, rule in enumerate(RULES)]
    yield from table(("Rule", *IMAGES), rows)


def _images(results: dict[str, tuple[GuideResult, ...]]) -> Iterator[str]:
    for name, means in IMAGES.items():
        yield f"## {name}\n\n{means}\n"
        rows = [((one.rule,), (one.status,), (one.evidence,), (Code(one.recheck),)) for one in results[name]]
        yield from table(("Rule", "Result", "Evidence", "Check again"), rows)


if __name__ == "__main__":
    sys.stdout.write(reference(Path(__file__).parents[2]))
