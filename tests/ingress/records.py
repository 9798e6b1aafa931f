"""A record with something in each part, made by hand."""

from datapack.ingress.guide import RULES
from datapack.ingress.record import (
    Checks,
    Data,
    Evidence,
    Found,
    GuideResult,
    Host,
    Image,
    Kept,
    Licence,
    Received,
    Record,
    Rehearsal,
    Scan,
    ScanException,
    Signed,
    Software,
    Source,
    Verification,
)

DIGEST = f"sha256:{'5' * 64}"


def a_record() -> Record:
    """Return the record."""
    return Record(
        reference="reef@v1",
        title="A reef",
        description="Pictures of a reef.",
        purpose="To train a detector.",
        projects=("eidf1",),
        requested_by="Doe, Jo, eidf1",
        owner="A Museum",
        contact="Jo, jo@museum.example",
        publisher="A Museum",
        homepage="https://museum.example/reef",
        private=True,
        licence=Licence(expression="CC-BY-4.0", texts=("https://spdx.org/licenses/CC-BY-4.0",)),
        received=Received(day="2026-11-28", basis="lock"),
        retention=Kept(deletion="2028-11-28", period="2 years", reason="the agreement"),
        sources=(Source(kind="doi", what="10.1/x", address="https://doi.org/10.1/x", terms=None),),
        downloads=(Host(host="https://museum.example", files=3, bytes=4000),),
        data=Data(digest=DIGEST, files=4, bytes=5000, types=(("image/png", 3, 4000), ("application/json", 1, 1000))),
        image=Image(
            where="oci:dist/reef-v1",
            digest=DIGEST,
            id=DIGEST,
            kind="import container",
            platform="linux/amd64",
            layers=4,
            bytes=9000,
            base=f"docker.io/library/alpine:3.22.2@{DIGEST}",
            stand_in=False,
            in_lock=True,
        ),
        verification=Verification(scope="full", said=("verified, every byte: oci:dist/reef-v1",)),
        software=Software(
            datapack="0.2.0",
            datapack_commit="1" * 40,
            catalog_commit="2" * 40,
            catalog_day="2026-11-28",
            catalog_changed=False,
            catalog_repository="git+https://git.example/reef",
        ),
        checks=Checks(
            ran=True,
            rules=60,
            deep=False,
            findings=(
                Found(code="DP319", severity="note", title="images without boxes", count=8, accepted="no animal there"),
            ),
        ),
        scan=Scan(
            tool="Trivy",
            version="0.76.0",
            database=None,
            image=DIGEST,
            vulnerabilities={"HIGH": 1},
            misconfigurations={},
            secrets=0,
            passed=None,
            exceptions=(ScanException(id="DS-0002", reason="root is the researcher"),),
            file="scan.json",
            sha256="6" * 64,
        ),
        rehearsals=(Rehearsal(receipt=f"IMPORT OK reef@v1 {DIGEST}", file="dist/rehearsals/x"),),
        evidence=(Evidence(kind="provenance", file="dist/x.json", sha256="7" * 64, said="a statement"),),
        signatures=(Signed(what="image", state="verified", keys=("the ECDSA P-256 key SHA256:x",)),),
        container_guide=tuple(
            GuideResult(rule=rule.text, status="met", evidence="x", recheck=rule.of_image) for rule in RULES
        ),
        blank=(),
    )
