"""Forged images: one thing is changed, all digests are right, and an engine would have or run something else."""

from __future__ import annotations

import shutil
import tarfile

import pytest

from datapack.errors import DatapackError, ImageError, MismatchError
from datapack.image.config import BASE_DIGEST
from datapack.oci.spec import INDEX, LAYER, canonical_json
from tests.verify.forging import Forged, archive, entry, folder, parents

FILE = "dataset/reef/data/z"
EVIL = b"!"
TOP, UNDER_TAGS, IN_BASE = -1, -2, 1


@pytest.fixture
def forged(built_once, tmp_path) -> Forged:
    """A built image that can be changed, away from its workspace."""
    shutil.copytree(built_once.root / "dist/reef-v1", tmp_path / "image")
    return Forged.read(tmp_path / "image")


def refused(forged: Forged, mode: str) -> str:
    """Verify an image, which must be refused in one line; return it and its details."""
    with pytest.raises((MismatchError, ImageError)) as caught:
        forged.verify(mode)
    assert "\n" not in str(caught.value)
    return "\n".join([str(caught.value), *caught.value.details])


def link(name: str, target: str, form: bytes = tarfile.SYMTYPE) -> bytes:
    return entry(name, form=form, link=target)


LAYERS = {
    "the file": archive(parents(FILE), entry(FILE, EVIL)),
    "a dot": archive(entry(f"./{FILE}", EVIL)),
    "a slash": archive(entry(f"/{FILE}", EVIL)),
    "two slashes": archive(entry("dataset//reef/data/z", EVIL)),
    "two dots": archive(entry("dataset/x/../reef/data/z", EVIL)),
    "a dot inside": archive(entry("dataset/./reef/data/z", EVIL)),
    "a FIFO": archive(parents(FILE), entry(FILE, form=tarfile.FIFOTYPE)),
    "a device": archive(parents(FILE), entry(FILE, form=tarfile.CHRTYPE)),
    "a block device": archive(parents(FILE), entry(FILE, form=tarfile.BLKTYPE)),
    "a folder": archive(parents(FILE), folder(FILE)),
    "a symbolic link": archive(parents(FILE), link(FILE, "/etc/motd")),
    "a hard link": archive(parents(FILE), link(FILE, "etc/motd", tarfile.LNKTYPE)),
    "a contiguous file": archive(parents(FILE), entry(FILE, EVIL, tarfile.CONTTYPE)),
    "a GNU sparse file": archive(parents(FILE), entry(FILE, form=tarfile.GNUTYPE_SPARSE)),
    "an unknown type": archive(parents(FILE), entry(FILE, EVIL, b"Z")),
    "the dataset as a link": archive(folder("dataset"), link("dataset/reef", "/etc")),
    "all datasets as a link": archive(link("dataset", "/etc")),
    "a whiteout": archive(parents(FILE), entry("dataset/reef/data/.wh.z")),
    "a whiteout of the dataset": archive(folder("dataset"), entry("dataset/.wh.reef")),
    "a whiteout of all": archive(entry(".wh.dataset")),
    "an opaque folder": archive(folder("dataset"), folder("dataset/reef"), entry("dataset/reef/.wh..wh..opq")),
    "the program": archive(parents("usr/local/bin/import"), entry("usr/local/bin/import", b"#!/bin/sh\n", mode=0o555)),
    "its second file": archive(entry("usr/local/bin/import-batch", b"#!/bin/sh\n", mode=0o555)),
    "a whiteout of the program": archive(entry("usr/local/bin/.wh.import")),
    "the shell": archive(folder("bin"), entry("bin/sh", EVIL, mode=0o555)),
    "the tag files": archive(parents("dataset/reef/x"), entry("dataset/reef/bag-info.txt", EVIL)),
    "another dataset": archive(parents("dataset/other/x"), entry("dataset/other/x", EVIL)),
    "an extra file": archive(parents(FILE), entry("dataset/reef/data/zz", EVIL)),
    "a file beside data": archive(parents("dataset/reef/x"), entry("dataset/reef/evil", EVIL)),
    "another mode": archive(parents(FILE), entry(FILE, b"z", mode=0o4755)),
    "another owner": archive(parents(FILE), entry(FILE, b"z", uid=1000)),
    "another time": archive(parents(FILE), entry(FILE, b"z", mtime=1)),
    "an attribute": archive(parents(FILE), entry(FILE, b"z", pax_headers={"SCHILY.xattr.user.a": "b"})),
    "another name in a record": archive(parents(FILE), entry("x", EVIL, pax_headers={"path": f"/{FILE}"})),
    "a mount point": archive(entry("safe_outputs/x", EVIL)),
    "an empty layer": archive(),
    "no archive": b"not a tar archive",
    "nothing": b"",
    "a second archive": archive(parents(FILE), entry(FILE, b"z")) + archive(entry(FILE, EVIL)),
    "only one block at the end": archive(parents(FILE), entry(FILE, b"z"))[:-512],
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("place", [TOP, UNDER_TAGS], ids=["on top", "under the tag files"])
@pytest.mark.parametrize("content", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_above_the_base_that_datapack_would_not_write(forged, content, place, mode):
    """Whatever one more layer does to the dataset or to what runs, in whatever spelling, the image is refused."""
    forged.insert(place, content)
    forged.rename_history()
    forged.write()
    assert "verified" not in refused(forged, mode)


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("media_type", [f"{LAYER}+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"])
def test_a_compressed_layer_above_the_base(forged, media_type, mode):
    """datapack does not compress its layers: an engine would unpack what a reader of plain archives overlooks."""
    forged.insert(UNDER_TAGS, LAYERS["the file"], f"{LAYER}+gzip")
    forged.manifest["layers"][UNDER_TAGS]["mediaType"] = media_type
    forged.rename_history()
    forged.write()
    assert "was it compressed on the way?" in refused(forged, mode)


def _set(**values):
    return lambda forged: forged.runtime.update(values)


def _environment(*lines: str, first: bool = True):
    def change(forged):
        forged.runtime["Env"] = [*lines, *forged.runtime["Env"]] if first else [*forged.runtime["Env"], *lines]

    return change


def _swap(forged):
    for parts in (forged.manifest["layers"], forged.config["rootfs"]["diff_ids"], forged.config["history"]):
        parts[2], parts[3] = parts[3], parts[2]


def _twice(forged):
    """Have the program twice: the second one above what an attacker put over the first."""
    program = forged.layer(1)
    forged.insert(2, LAYERS["the shell"])
    forged.insert(3, program)
    forged.rename_history()


SETTINGS = {
    "the entrypoint": _set(Entrypoint=["/bin/sh", "-c", "echo IMPORT OK"]),
    "no entrypoint": _set(Entrypoint=None),
    "a command": _set(Cmd=["--help"]),
    "a user": _set(User="1000"),
    "a volume": _set(Volumes={"/dataset": {}}),
    "a health check": _set(Healthcheck={"Test": ["CMD", "/bin/sh"]}),
    "a working folder in the dataset": _set(WorkingDir="/dataset/reef/data/zz"),
    "a working folder of an odd spelling": _set(WorkingDir="//x/../safe_data"),
    "an environment that preloads": _environment("LD_PRELOAD=/evil.so"),
    "an environment that is a script": _environment("ENV=/evil.sh"),
    "a function": _environment("BASH_FUNC_sha256sum%%=() { :; }"),
    "another digest, first": _environment("DATAPACK_DIGEST=sha256:" + "0" * 64),
    "another digest, last": _environment("DATAPACK_DIGEST=sha256:" + "0" * 64, first=False),
    "the path twice": _environment("PATH=/evil"),
    "a variable after ours": _environment("A=b", first=False),
    "no variable": _environment("A"),
    "another base": _environment(f"DATAPACK_BASE=sha256:{'0' * 64}", first=False),
    "another machine": lambda forged: forged.config.update(architecture="arm64"),
    "a variant": lambda forged: forged.config.update(variant="v8"),
    "features": lambda forged: forged.config.update({"os.features": ["x"]}),
    "a time": lambda forged: forged.config.update(created="2026-01-01T00:00:00Z"),
    "an engine's command": lambda forged: forged.manifest["annotations"].update({"run.oci.handler": "wasm"}),
    "another version": lambda forged: forged.manifest["annotations"].update({"org.opencontainers.image.version": "v2"}),
    "no digest of a base": lambda forged: forged.manifest["annotations"].update(
        {"org.opencontainers.image.base.digest": "?"}
    ),
    "no licence": lambda forged: forged.manifest["annotations"].pop("org.opencontainers.image.licenses"),
    "no title": lambda forged: forged.manifest["annotations"].pop("org.opencontainers.image.title"),
    "a subject": lambda forged: forged.manifest.update(subject=forged.manifest["config"]),
    "a layer's URL": lambda forged: forged.manifest["layers"][2].update(urls=["https://example.org/evil"]),
    "a layer's annotation": lambda forged: forged.manifest["layers"][2].update(annotations={"a": "b"}),
    "layers in another order": _swap,
    "the program twice": _twice,
    "another history": lambda forged: forged.config["history"][-1].update(empty_layer=True),
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_datapack_would_not_write(forged, change, mode):
    """Config and manifest are rebuilt from the facts in the image, and must be the same bytes."""
    change(forged)
    forged.write()
    assert "verified" not in refused(forged, mode)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_keys_that_go_reads_and_python_does_not(forged, mode):
    """Engines take ``ENTRYPOINT`` for ``Entrypoint``, and of two equal keys the last: both are refused."""
    config = canonical_json(forged.config)
    for change in (b'"ENTRYPOINT":["/evil"],"Entrypoint":', b'"Entrypoint":["/evil"],"Entrypoint":'):
        forged.write(config=config.replace(b'"Entrypoint":', change))
        refused(forged, mode)
    forged.write(config=config.replace(b'{"architecture"', b'{ "architecture"'))
    assert "not written as datapack writes it" in refused(forged, mode)


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("key", ["Digest", "di\u0261est".replace("\u0261", "G"), "\u017fize", "MediaType"])
def test_an_index_that_go_reads_otherwise(forged, key, mode):
    """The index of a layout must name the same image to every program."""
    forged.write()
    (image,) = forged.layout.read_index()["manifests"]
    forged.layout.index.write_bytes(canonical_json({"manifests": [{**image, key: image["digest"]}]}))
    assert "engines read this key differently" in refused(forged, mode)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_an_index_that_calls_the_image_something_else(forged, mode):
    """An engine goes by the media type in the index."""
    forged.write()
    (image,) = forged.layout.read_index()["manifests"]
    forged.layout.index.write_bytes(canonical_json({"manifests": [{**image, "mediaType": INDEX}]}))
    assert "manifest is said to be application/vnd.oci.image.index.v1+json, not" in refused(forged, mode)


BASES = {
    "a file of the dataset": archive(entry("dataset/reef/data/extra", EVIL)),
    "a file of another dataset": archive(entry("dataset/other/x", EVIL)),
    "the folder of the datasets as a file": archive(entry("dataset", EVIL)),
    "through a link": archive(link("x", "."), entry("x/dataset/reef/data/extra", EVIL)),
    "through two links": archive(link("a", "b"), link("b", "/"), entry("a/a/dataset/reef/data/extra", EVIL)),
    "through a link out of the root": archive(link("x", "../../.."), entry("x/dataset/reef/data/extra", EVIL)),
    "through a hard link to a link": archive(
        link("x", "."), link("y", "x", tarfile.LNKTYPE), entry("y/dataset/reef/data/extra", EVIL)
    ),
    "through an odd name": archive(entry(".//dataset/./reef//data/extra", EVIL)),
    "the program": archive(entry("usr/local/bin/import", EVIL)),
    "a folder of the program as a link": archive(link("usr/local", "/opt")),
    "a file in a mount point": archive(entry("safe_data/x", EVIL)),
    "a mount point as a link": archive(link("safe_outputs", "/tmp")),
    "a library for every program": archive(entry("etc/ld.so.preload", b"/evil.so\n")),
    "two dots": archive(entry("x/../../dataset/x", EVIL)),
    "a whiteout of what is above": archive(entry("a/.wh...")),
    "a file as a folder": archive(entry("etc/motd/x", EVIL)),
    "a loop of links": archive(link("a", "b"), link("b", "a"), entry("a/x", EVIL)),
    "removed again in its layer": archive(entry("dataset/x", EVIL), entry("dataset/.wh.x")),
    "its folder removed again": archive(entry("dataset/reef/data/extra", EVIL), entry(".wh.dataset")),
    "an opaque folder after it": archive(entry("dataset/reef/data/extra", EVIL), entry("dataset/.wh..wh..opq")),
    "a folder that overlayfs finds elsewhere": archive(
        entry("evil/reef/data/extra", EVIL),
        entry("dataset/", form=tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/evil"}),
    ),
    "no archive": b"not a tar archive",
    "one cut off": archive(entry("x", bytes(2000)))[:1024],
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("media_type", [LAYER, f"{LAYER}+gzip"], ids=["plain", "gzip"])
@pytest.mark.parametrize("content", BASES.values(), ids=BASES.keys())
def test_a_base_that_touches_what_is_not_its_own(forged, content, media_type, mode):
    """A base has nothing where the dataset, the program or a mount point goes, however it is spelled or linked."""
    forged.insert(IN_BASE, content, media_type)
    forged.write()
    assert any(words in refused(forged, mode) for words in ("base     ", "can't be read as a tar archive"))


FOLDERS = {
    "through a link into the dataset": ("/w/evil", archive(link("w", "/dataset/reef/data"))),
    "a link to a mount point": ("/w", archive(link("w", "safe_outputs"))),
    "in a loop of links": ("/w/x", archive(link("w", "w"))),
    "in a file": ("/w/x", archive(entry("w", EVIL))),
    "in place of the program": ("/usr/local/bin/import", archive(entry("opt/x", EVIL))),
    "below the program": ("/usr/local/bin/import/x", archive(entry("opt/x", EVIL))),
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize(("path", "content"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_working_directory_that_is_made_elsewhere(forged, path, content, mode):
    """An engine makes it where it is missing, following the base's links: it must be in real folders of the base."""
    forged.insert(IN_BASE, content)
    forged.runtime["WorkingDir"] = path
    forged.write()
    assert "base     has the working directory" in refused(forged, mode)


@pytest.mark.parametrize("path", ["", "/", "/opt", "/opt/new/er", "opt", "/usr/local", "/usr/local/bin"])
def test_a_working_directory_of_the_base_s_own(forged, path):
    """It may be missing, too."""
    forged.insert(IN_BASE, archive(folder("opt")))
    forged.runtime["WorkingDir"] = path
    forged.write()
    assert forged.verify().scope == "full"


BENIGN = {
    "a file": archive(entry("opt/x", EVIL)),
    "a whiteout before its name": archive(entry("opt/.wh.x"), entry("opt/x")),
    "a folder of its own": archive(folder("dataset"), folder("safe_data"), folder("usr"), folder("usr/local")),
    "the links of today's Debian": archive(folder("usr"), folder("usr/bin"), link("bin", "usr/bin"), entry("bin/sh")),
    "global records": archive(
        tarfile.TarInfo.create_pax_global_header({"comment": "of git archive", "path": FILE}), entry("opt/x")
    ),
    "a long name": archive(entry("x" * 90 + "/" + "y" * 90)),
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("media_type", [LAYER, f"{LAYER}+gzip"], ids=["plain", "gzip"])
@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN.keys())
def test_a_base_that_minds_its_own_files(forged, content, media_type, mode):
    """Any other base is accepted; where nobody knows it, that is said."""
    forged.insert(IN_BASE, content, media_type)
    forged.write()
    assert "base not compared: the image names sha256:" in str(forged.verify(mode))


def test_an_opaque_folder_spares_what_its_own_layer_has(forged):
    """The content of lower layers goes, the layer's own stays, wherever the whiteout is in it."""
    forged.insert(1, archive(entry("dataset/x", EVIL)))
    forged.insert(2, archive(entry("dataset/.wh..wh..opq")))
    forged.write()
    forged.verify()
    forged.insert(3, archive(entry("dataset/y", EVIL), entry("dataset/.wh..wh..opq")))
    forged.write()
    assert "base     has something at /dataset" in refused(forged, "full")


def test_a_base_that_removes_a_file_again(forged):
    """A whiteout in the next layer hides it from every engine; one behind a link of a lower layer only from some."""
    forged.insert(1, archive(link("d", "dataset"), entry("dataset/x", EVIL)))
    forged.insert(2, archive(entry("dataset/.wh.x")))
    forged.write()
    forged.verify()
    forged.replace(2, archive(entry("d/.wh.x")))
    forged.write()
    assert "'d' is a link of a lower layer, which engines follow or replace" in refused(forged, "full")


@pytest.mark.parametrize("media_type", [LAYER, f"{LAYER}+gzip"])
def test_a_base_that_no_engine_unpacks(forged, media_type):
    """An engine checks the config's digest of each unpacked layer: verify does, too."""
    forged.insert(IN_BASE, archive(entry("opt/x")), media_type)
    forged.config["rootfs"]["diff_ids"][IN_BASE] = f"sha256:{'0' * 64}"
    forged.write()
    assert "not to sha256:000" in refused(forged, "full")


def test_an_unknown_base_that_can_not_be_unpacked(forged):
    """It could contain anything, so it is not enough to say so."""
    forged.insert(IN_BASE, archive(entry("opt/x")), "application/vnd.oci.image.layer.v1.tar+lzma")
    forged.write()
    assert "which can't be unpacked here" in refused(forged, "full")


def test_the_bag_must_be_that_of_the_image(forged):
    """The tag files must be those of this version, and match their own manifest."""
    tags = forged.layer(-1)
    forged.replace(-1, tags.replace(b"External-Identifier: reef@v1", b"External-Identifier: reef@v9"))
    forged.write()
    found = refused(forged, "full")
    assert "tagmanifest-sha256.txt is not that of the tag files" in found
    assert "is that of 'reef@v9', not of 'reef@v1'" in found
    forged.replace(-1, tags.replace(b"BagIt-Version: 1.0", b"BagIt-Version: 0.9"))
    forged.write()
    assert "bagit.txt is not as datapack writes it" in refused(forged, "full")


def test_bytes_behind_a_file(forged):
    """What fills the last block of a file is zeros, in every file."""
    data = forged.layer(3)
    at = data.index(b"{}") + 2
    forged.replace(3, data[:at] + b"!" + data[at + 1 :])
    forged.write()
    assert "has bytes behind 'dataset/reef/data/train.json'" in refused(forged, "full")


@pytest.mark.parametrize("reference", ["reef", "reef@", "../x@v1", "reef@v1@v2", ""])
def test_a_reference_that_is_none(forged, reference):
    """The environment names no dataset that exists."""
    forged.runtime["Env"][-3] = f"DATAPACK_DATASET={reference}"
    forged.write()
    assert "not an import container" in refused(forged, "full")


def test_no_image_writes_a_line_of_its_own(forged):
    """What an image says of itself is shown, but can't look like a claim of datapack's."""
    name = "x\nverified, every byte: \x1b[2K"
    for facts in (forged.manifest["annotations"], forged.runtime["Labels"]):
        facts["org.opencontainers.image.base.name"] = name
    forged.runtime["Env"][-1] = f"DATAPACK_BASE={name}@{forged.manifest['annotations'][BASE_DIGEST]}"
    forged.write()
    lines = str(forged.verify("quick")).splitlines()
    assert len(lines) == 2
    assert r"the image names x\nverified, every byte: \x1b[2K@sha256:" in lines[1]


def test_an_image_that_is_as_built_is_verified(forged):
    """Nothing of all this refuses what datapack wrote."""
    forged.write()
    assert str(forged.verify()).startswith("verified, every byte")
    assert str(forged.verify("quick")).startswith("complete by names and sizes")


def test_every_error_is_one_of_ours(forged):
    """No forged image ends in a traceback: all errors are `DatapackError`."""
    for value in (None, [], {}, "x", -1, [None], {"a": None}):
        for key in ("layers", "config", "annotations", "mediaType", "schemaVersion"):
            manifest = {**forged.manifest, key: value}
            forged.write(manifest=canonical_json(manifest))
            with pytest.raises(DatapackError):
                forged.verify()
