"""The record as values. They are what the JSON has; `python -m datapack.ingress.record` writes its JSON Schema.

What is not known is null or an empty list, never a guess. Dates are days, as ISO 8601 writes them.
"""

from __future__ import annotations

import json
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORM: Literal[1] = 1  # of the JSON: one more for each change that its readers must know of
ROLES = ("Data owner", "Data manager", "Information governance reviewer")
Status = Literal["met", "not met", "not read"]


class Part(BaseModel):
    """A part of the record."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(Part):
    """The licence of the data."""

    expression: str = Field(description="as the catalog has it, an SPDX expression if there is one")
    texts: tuple[str, ...] = Field(description="the addresses of the licences that it names")


class Source(Part):
    """A place that the files come from."""

    kind: str = Field(description="the kind of source in the catalog")
    what: str = Field(description="what it names there, without passwords and signatures")
    address: str | None = Field(description="its page on the web")
    terms: str | None = Field(description="the page with its terms, if its kind has one; otherwise the licence holds")


class Host(Part):
    """A host that files were downloaded from."""

    host: str
    files: int
    bytes: int


class Received(Part):
    """When the data was received."""

    day: str
    basis: Literal["option", "lock"] = Field(
        description="'option': as the person who wrote the record said; 'lock': the first commit of datasets.lock "
        "with this dataset digest"
    )


class Kept(Part):
    """How long the data may stay."""

    deletion: str | None = Field(description="the day of the expected deletion")
    period: str | None = Field(description="how long after it was received, if the catalog gives no day")
    reason: str


class Data(Part):
    """What the dataset is, to the byte."""

    digest: str = Field(description="the dataset digest: the sha256 of manifest-sha256.txt")
    files: int
    bytes: int
    types: tuple[tuple[str, int, int], ...] = Field(description="media type, files and bytes")


class Image(Part):
    """The image that carries the data."""

    where: str
    digest: str
    id: str = Field(description="the digest of its config, which engines show")
    kind: Literal["import container", "ready-to-run model"]
    platform: str
    layers: int
    bytes: int = Field(description="of all layers, as they are stored")
    base: str = Field(description="name and digest, as the image says")
    stand_in: bool = Field(description="whether it is for trials only and must not enter a Safe Haven")
    in_lock: bool = Field(description="whether datasets.lock names exactly this image")


class Verification(Part):
    """What was read of the image when the record was written."""

    scope: Literal["full", "quick", "sizes"]
    said: tuple[str, ...] = Field(description="what 'datapack verify' says of it")


class Software(Part):
    """The program and the catalog that made the image."""

    datapack: str
    datapack_commit: str | None = Field(description="if the program is a git checkout; '+' if it was changed")
    catalog_commit: str | None
    catalog_day: str | None
    catalog_changed: bool | None = Field(description="whether datasets.yml had changes that no commit has")
    catalog_repository: str | None


class Found(Part):
    """What a rule of 'datapack check' found."""

    code: str
    severity: Literal["error", "warning", "note"]
    title: str
    count: int
    accepted: str | None = Field(description="the reason that the catalog gives for accepting it")


class Checks(Part):
    """The checks of the content."""

    ran: bool = Field(description="false if the data was not on the machine that wrote the record")
    rules: int = Field(description="how many rules were checked")
    deep: bool = Field(description="whether every image was decoded")
    findings: tuple[Found, ...]


class ScanException(Part):
    """A finding of the scan that is accepted."""

    id: str
    reason: str


class Scan(Part):
    """The scan for vulnerabilities and misconfigurations, as its result says."""

    tool: str
    version: str | None
    database: str | None = Field(description="the day of the vulnerability database; null if there was none")
    image: str | None = Field(description="the digest of the image that was scanned")
    vulnerabilities: dict[str, int] = Field(description="by severity")
    misconfigurations: dict[str, int] = Field(description="by severity")
    secrets: int
    passed: bool | None = Field(description="whether the rules of 'make scan' let the image pass; null if unknown")
    exceptions: tuple[ScanException, ...]
    file: str
    sha256: str


class Rehearsal(Part):
    """A trial of the import on the machine that built the image."""

    receipt: str = Field(description="the last line of the receipt that the import wrote")
    file: str


class Evidence(Part):
    """A file that belongs to the record."""

    kind: Literal["provenance", "signature", "sbom"]
    file: str = Field(description="where it is: beside the image, or attached to it in a registry")
    sha256: str | None = Field(description="null if it can't be read")
    said: str = Field(description="what was read of it")


class Signed(Part):
    """Whether the image, or its provenance, is signed."""

    what: Literal["image", "provenance"]
    state: Literal["none found", "present, not verified", "verified"] = Field(
        description="'verified' only with --key, which names the keys that are trusted"
    )
    keys: tuple[str, ...] = Field(description="the keys that the signatures were verified with")


class GuideResult(Part):
    """A rule of the container guide, and whether the image keeps it."""

    rule: str
    status: Status
    evidence: str
    recheck: str = Field(description="a command with public tools that shows it")


class Approval(Part):
    """A decision that a person writes down."""

    role: str
    name: str = ""
    date: str = ""
    decision: str = ""


class Record(Part):
    """The record of an ingress."""

    form: Literal[1] = FORM
    reference: str
    title: str
    description: str | None
    purpose: str | None
    projects: tuple[str, ...]
    requested_by: str | None = Field(description="the person who asks for the ingress, with project and affiliation")
    owner: str | None
    contact: str | None
    publisher: str | None
    homepage: str | None
    private: bool
    licence: Licence
    received: Received | None
    retention: Kept | None
    sources: tuple[Source, ...]
    downloads: tuple[Host, ...]
    data: Data
    image: Image
    verification: Verification
    software: Software
    checks: Checks
    scan: Scan | None
    rehearsals: tuple[Rehearsal, ...]
    evidence: tuple[Evidence, ...]
    signatures: tuple[Signed, ...]
    container_guide: tuple[GuideResult, ...]
    blank: tuple[str, ...] = Field(description="what is missing in a draft: keys of the catalog, and options")
    approvals: tuple[Approval, ...] = tuple(Approval(role=role) for role in ROLES)

    def to_json(self) -> bytes:
        """Return the record as JSON; the same values give the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False).encode() + b"\n"


def json_schema() -> str:
    """Return the JSON Schema of the record."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
