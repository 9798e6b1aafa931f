"""Build: from the catalog to a target, as a user runs it."""

import json
import os
import shutil
import subprocess

import pytest

from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from tests.build.reef_build import layout, state
from tests.conftest import fact, make_base


def test_golden_digests(catalog):
    """The same input gives these digests on every machine; if they change, every image changes."""
    output = catalog.ok("build", "reef@v1")
    assert fact(output, "dataset") == "sha256:6c5909b871c57499ce51f28a4fc51b6c6827d4c971be86ebc0528b91a1509286"
    image = read_json(layout(catalog), layout(catalog).image())
    assert [layer["digest"] for layer in image["layers"]][2:] == [
        "sha256:a7420cf96272c68df22d0a0fc44bbceaab8a6fa29c1aa9caac2f052d4d1dff1a",
        "sha256:13d712524dfde385283ff35afea1f573fce437d1d62ff08be4992f22638d7af5",
        "sha256:9c516c019f7f5740d959b7694bfdb420ad39bc549fd52f78ca7d5e03c1c1af12",
    ]


def test_same_image_in_another_folder_with_another_umask_and_order(catalog, tmp_path):
    """The files' place, time, owner and order of creation leave no trace in the image."""
    first = fact(catalog.ok("build", "reef@v1"), "image")
    other = tmp_path / "elsewhere"
    names = sorted(catalog.root.joinpath("source").rglob("*"), reverse=True)
    for path in [p for p in names if p.is_file()]:
        copy = other / path.relative_to(catalog.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
    shutil.copy(catalog.root / "datasets.yml", other)
    make_base(other / "base")
    command = f"umask 077; exec {' '.join(catalog.command('build', 'reef@v1'))}"
    env = {**catalog.options()["env"], "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    done = subprocess.run(["sh", "-c", command], cwd=other, env=env, capture_output=True, text=True, check=True)
    assert fact(done.stdout, "image") == first


def test_how_the_path_of_a_base_is_spelled_does_not_matter(fetched):
    """A base on disk is named by its digest only, in the image and in its provenance."""
    spellings = ("oci:base", "oci:./base/", "oci:../catalog/base", f"oci:{fetched.root}/base")
    images = {fact(fetched.ok("build", "reef@v1", "--base", base), "image") for base in spellings}
    assert len(images) == 1
    statement = (fetched.root / "dist/reef-v1.provenance.json").read_text()
    assert f'"base":"{Layout(fetched.root / "base").image().digest}"' in statement


@pytest.mark.parametrize("index", ["7", '{"manifests":[null]}', '{"manifests":[{"annotations":[]}]}'])
def test_a_layout_that_anyone_wrote_is_not_replaced(built, index):
    """However odd its index is, it is one clear line."""
    layout(built).index.write_text(index)
    error = built.fails("build", "reef@v1")
    assert "this layout contains another image" in error or "expected a JSON object" in error


def test_second_build_writes_nothing(catalog):
    """If nothing changed, nothing is written, not even the lock."""
    catalog.ok("build", "reef@v1")
    before = state(catalog.root / "dist") | state(catalog.root / "data")
    lock = (catalog.root / "datasets.lock").stat().st_mtime_ns
    catalog.ok("build", "reef@v1")
    assert state(catalog.root / "dist") | state(catalog.root / "data") == before
    assert (catalog.root / "datasets.lock").stat().st_mtime_ns == lock


def test_disk_holds_the_data_once(catalog):
    """DVC's cache and the bag share their files."""
    catalog.ok("build", "reef@v1")
    image = catalog.root / "data/reef/v1/data/images/a b.png"
    blocks = {p.stat().st_ino for p in (catalog.root / ".dvc/cache").rglob("*") if p.is_file()}
    assert image.stat().st_ino in blocks or image.stat().st_nlink == 1  # a reflink has its own inode
    assert image.stat().st_ino in blocks or "reflink" in (catalog.root / ".dvc/config.local").read_text()


def test_image_is_whole_and_says_what_it_is(fetched):
    """The image has the entrypoint, environment, labels and annotations that an engine and a reviewer read."""
    output = fetched.ok("build", "reef@v1")
    image = read_json(layout(fetched), layout(fetched).image())
    config = json.loads(layout(fetched).blob(image["config"]["digest"]).read_bytes())
    runtime = config["config"]
    assert runtime["Entrypoint"] == ["/usr/local/bin/import"]
    assert "Cmd" not in runtime
    assert "User" not in runtime
    digest = fact(output, "dataset")
    own = ["DATAPACK_DATASET=reef@v1", f"DATAPACK_DIGEST={digest}"]
    base = Layout(fetched.root / "base").image().digest
    assert runtime["Env"] == ["PATH=/bin", *own, f"DATAPACK_BASE={base}"]
    for facts in (runtime["Labels"], image["annotations"]):
        assert facts["org.opencontainers.image.title"] == "A small reef"
        assert facts["org.opencontainers.image.licenses"] == "CC0-1.0"
        assert facts["org.opencontainers.image.version"] == "v1"
        assert facts["org.opencontainers.image.base.digest"] == Layout(fetched.root / "base").image().digest
        assert "org.opencontainers.image.base.name" not in facts  # a base on disk: where it is must not matter
        assert digest in facts.values()
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in image["layers"]]
    assert len(config["history"]) == len(image["layers"]) == 5


def test_all_targets_hold_one_image(fetched):
    """A layout, an archive and a pipe carry the same image, and all verify."""
    digests = {
        fact(fetched.ok("build", "reef@v1", "--to", target), "image") for target in ("oci:other", "oci-archive:x.tar")
    }
    piped = subprocess.run(
        fetched.command("build", "reef@v1", "--to", "oci-archive:-"),
        **fetched.options(),
        capture_output=True,
        check=True,
    )
    (fetched.root / "piped.tar").write_bytes(piped.stdout)
    assert fact(piped.stderr.decode(), "image") in digests
    assert len(digests) == 1
    for image in ("oci:other", "oci-archive:x.tar", "oci-archive:piped.tar"):
        assert fetched.ok("verify", image).startswith("verified, every byte")
    assert not fetched.leftovers()


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
@pytest.mark.registry
@pytest.mark.parametrize("target", ["oci:out", "oci-archive:out.tar"])
def test_skopeo_reads_targets_as_they_are(fetched, target):
    """skopeo sees the digest that datapack printed, and copies the image without changing it."""
    digest = fact(fetched.ok("build", "reef@v1", "--to", target), "image")
    seen = subprocess.run(["skopeo", "inspect", target], cwd=fetched.root, capture_output=True, text=True, check=True)
    assert json.loads(seen.stdout)["Digest"] == digest
    subprocess.run(["skopeo", "copy", "-q", target, "dir:copy"], cwd=fetched.root, check=True)
    assert json.loads((fetched.root / "copy/manifest.json").read_bytes())["layers"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "reef"], "'reef': not a reference: expected name@version"),
        (["build", "reef@v9"], "did you mean 'reef@v1'?"),
        (["build", "riif@v1"], "did you mean 'reef@v1'?"),
        (["build", "reef@v1", "--to", "tar:x"], "'tar:x': not a target: expected oci:DIR"),
        (["build", "reef@v1", "--to", "oci:a:b"], "'oci:a:b': not a target"),
        (
            ["build", "reef@v1", "--base", "base"],
            "'base': the base is not pinned by its digest: expected NAME:TAG@sha256:",
        ),
        (["build", "reef@v1", "--base", "base"], "or oci:DIR for one on this disk; 'datapack base NAME:TAG' looks up"),
        (["build", "reef@v1", "--base", "alpine:3.22"], "; 'datapack base alpine:3.22' looks up the digest"),
        (["build", "reef@v1", "--base", "alpine:3.22@sha256:0"], "; 'datapack base alpine:3.22' looks up the digest"),
        (["build", "reef@v1", "--base", "oci:"], "'oci:': the base has no name: expected oci:DIR"),
        (["verify", "nothing"], "'nothing': not something that datapack can verify"),
    ],
)
def test_wrong_use(catalog, arguments, says):
    """Contradictory or impossible arguments are refused before anything is done."""
    assert says in catalog.fails(*arguments, status=2)
    assert not (catalog.root / "data").exists()


def test_target_that_holds_something_else(catalog):
    """A folder with other files, or with another image, is not written to."""
    (catalog.root / "other").mkdir()
    (catalog.root / "other/precious").write_text("mine")
    assert "other: this folder contains something else" in catalog.fails("build", "reef@v1", "--to", "oci:other")
    assert [p.name for p in (catalog.root / "other").iterdir()] == ["precious"]
    text = (catalog.root / "datasets.yml").read_text()
    (catalog.root / "datasets.yml").write_text(text.replace("  reef:", "  atoll:"))
    catalog.ok("build", "atoll@v1", "--to", "oci:taken")
    (catalog.root / "datasets.yml").write_text(text)
    error = catalog.fails("build", "reef@v1", "--to", "oci:taken")
    assert "this layout contains another image: expected reef@v1, found atoll@v1" in error


def test_folder_that_cannot_be_written(catalog):
    """A read-only folder gives one clear error line."""
    if os.getuid() == 0:
        root = catalog.root
        script = f'mount --bind {root} {root} && mount -o remount,bind,ro {root} && cd {root} && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *catalog.command("build", "reef@v1")]
        done = subprocess.run(command, **catalog.options(), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"{catalog.root}: can't write here: found Read-only file system; work in a folder that" in done.stderr
    else:
        catalog.root.chmod(0o555)
        assert "can't write here: found Permission denied" in catalog.fails("build", "reef@v1")
        catalog.root.chmod(0o755)


def test_no_catalog(tmp_path, catalog):
    """Outside a catalog's folder, the message says how to start one."""
    catalog.root = tmp_path
    assert "no datasets.yml here or in any folder above; run 'datapack init'" in catalog.fails("list", status=2)
