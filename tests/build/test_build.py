"""Build: from the catalog to a target, as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from tests.conftest import Catalog, fact, make_base

OCI = "org.opencontainers.image"


def layout(catalog) -> Layout:
    return Layout(catalog.root / "dist/reef-v1")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}


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


def test_lock_that_differs_stops_the_build(built):
    """Each file that differs from the lock is listed, and accepted only with `--update-lock`."""
    shutil.rmtree(built.root / "data")
    (built.root / "source/z").write_bytes(b"Z")
    (built.root / "source/new").write_bytes(b"")
    (built.root / "source/train.json").unlink()
    before = state(built.root / "dist")
    error = built.fails("build", "reef@v1", status=3)
    assert "reef@v1: the data differs from the lock" in error
    assert "  added    data/new\n  removed  data/train.json\n  changed  data/z\n" in error
    assert state(built.root / "dist") == before
    assert not (built.root / "data/reef/v1").exists()
    built.ok("build", "reef@v1", "--update-lock")
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")
    built.ok("build", "reef@v1")


def test_changed_catalog_entry_is_noticed(built):
    """Sources that changed since the lock are fetched again; the bag on disk stays until the result is accepted."""
    text = (built.root / "datasets.yml").read_text()
    (built.root / "datasets.yml").write_text(text + "          - {local: extra, into: more}\n")
    (built.root / "extra").write_bytes(b"x")
    error = built.fails("build", "reef@v1", status=3)
    assert "added    data/more/extra" in error
    assert not (built.root / "data/reef/v1/data/more").exists()
    built.ok("build", "reef@v1", "--update-lock")
    assert (built.root / "data/reef/v1/data/more/extra").read_bytes() == b"x"
    assert "verified" in built.ok("verify", "reef@v1")


def test_changed_base_stops_the_build(built):
    """A base whose digest differs from the lock's is reported before anything is fetched or written."""
    locked = read_json(layout(built), layout(built).image())["annotations"][f"{OCI}.base.digest"]
    shutil.rmtree(built.root / "base")
    shutil.rmtree(built.root / "data")
    shutil.rmtree(built.root / "source")
    before = state(built.root / "dist")
    digest = make_base(built.root / "base", label="another")
    error = built.fails("build", "reef@v1", status=3)
    assert (
        f"error: reef@v1: the base is not the one in the lock: expected {locked}, found {digest} (oci:base); "
        "restore the locked base, or accept the new one with --update-lock\n"
    ) in error
    assert not (built.root / "data").exists()
    assert state(built.root / "dist") == before


def test_changed_base_is_accepted_on_request(built):
    """Another base gives another image; `--update-lock` accepts it and writes it to the lock."""
    first = fact(built.ok("build", "reef@v1"), "image")
    make_base(built.root / "base", label="another")
    second = fact(built.ok("build", "reef@v1", "--update-lock"), "image")
    assert first != second
    assert fact(built.ok("build", "reef@v1"), "image") == second


def test_another_image_of_the_same_layers_stops_the_build(built):
    """A change that only the image's configuration shows, such as a new title, is checked against the lock too."""
    path = built.root / "datasets.yml"
    path.write_text(path.read_text().replace("A small reef", "A large reef"))
    error = built.fails("build", "reef@v1", status=3)
    assert "the image is not the one in the lock" in error
    assert "  changed  the image's configuration" in error


def test_a_withdrawn_file_is_in_no_layer(built):
    """After an accepted change the layout holds no blob of the former image."""
    (built.root / "source/images/a b.png").unlink()
    built.ok("build", "reef@v1", "--refresh", "--update-lock")
    blobs = list(layout(built).blobs.iterdir())
    assert not any(b"a" * 3000 in blob.read_bytes() for blob in blobs)
    assert len(blobs) == 7  # manifest, config, the base's layer and four of ours


def test_a_withdrawn_file_does_not_outlive_a_kill(built):
    """A blob that a killed build did not get to remove is removed by the next one, even if nothing changed."""
    stale = layout(built).blob("sha256:" + "0" * 64)
    stale.write_bytes(b"withdrawn")
    built.ok("build", "reef@v1")
    assert not stale.exists()


def test_flipped_byte_in_the_bag_is_found(built):
    """A changed file in the bag is named before it gets into an image, and a new fetch repairs it."""
    good = fact(built.ok("build", "reef@v1"), "image")
    shutil.rmtree(built.root / "dist")
    victim = built.root / "data/reef/v1/data/images/a b.png"
    victim.chmod(0o644)
    victim.write_bytes(b"b" + victim.read_bytes()[1:])
    error = built.fails("build", "reef@v1", status=3)
    assert "images/a b.png: the file differs from the bag's manifest" in error
    assert not (built.root / "dist/reef-v1").exists()
    error = built.fails("verify", "reef@v1", status=3)
    assert "  changed  data/images/a b.png" in error
    shutil.rmtree(built.root / ".dvc/cache")
    victim.unlink()
    assert fact(built.ok("build", "reef@v1"), "image") == good


def test_flip_that_keeps_the_time_is_found_by_verify(catalog):
    """`--verify` reads the bytes even if size and time are unchanged."""
    catalog.ok("build", "reef@v1")
    victim = catalog.root / "data/reef/v1/data/z"
    stat = victim.stat()
    victim.chmod(0o644)
    victim.write_bytes(b"Z")
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    catalog.ok("build", "reef@v1")
    assert "data/z" in catalog.fails("build", "reef@v1", "--verify", status=3)


def test_flipped_byte_in_a_layer_is_found(built):
    """A damaged blob is reported with its digest and its file, and a build repairs it."""
    image = read_json(layout(built), layout(built).image())
    blob = layout(built).blob(image["layers"][2]["digest"])
    content = blob.read_bytes()
    blob.write_bytes(content.replace(b"aaaa", b"aaba", 1))
    error = built.fails("verify", "oci:dist/reef-v1", status=3)
    assert "changed  data/images/a b.png" in error
    assert f"layer    {image['layers'][2]['digest']} is damaged" in error
    assert built.ok("verify", "--quick", "oci:dist/reef-v1").startswith("complete by names and sizes")
    built.ok("build", "reef@v1", "--verify")
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")


class NoneSmall(Catalog):
    """To this datapack, no blob is small."""

    change = "import datapack.targets.layout as layout; layout._SMALL = 0"


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_every_damaged_blob_is_repaired(built, options):
    """A build reads the small blobs of its target, with `--verify` all of them: what it says it built is there."""
    if options:
        built = NoneSmall(built.root)
    for blob in sorted(layout(built).blobs.iterdir()):
        content = blob.read_bytes()
        blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        built.ok("build", "reef@v1", *options)
        assert blob.read_bytes() == content
    assert built.ok("verify", "oci:dist/reef-v1").startswith("verified")


def test_two_builds_at_once(catalog):
    """The second of two builds in one folder says which process is running, and does no harm."""
    first = catalog.start("build", "reef@v1")
    while not (catalog.root / ".datapack/writer").exists() or not (catalog.root / ".datapack/writer").read_text():
        time.sleep(0.01)
    error = catalog.fails("build", "reef@v1")
    assert "another datapack process is running in this folder: found build reef@v1 (process " in error
    assert first.wait() == 0
    catalog.ok("build", "reef@v1")


@pytest.mark.slow
@pytest.mark.parametrize("moment", [f"{n / 100:.2f}" for n in (15, 30, 45, 60, 80, 100, 120, 140, 160, 180)])
def test_killed_at_any_moment(catalog, moment):
    """A kill at any moment leaves nothing incomplete under a final name, and the same command resumes."""
    process = catalog.start("build", "reef@v1")
    time.sleep(float(moment))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bag, image = catalog.root / "data/reef/v1", catalog.root / "dist/reef-v1"
    if bag.exists():
        subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=bag, check=True)
    if image.exists():
        catalog.ok("verify", "oci:dist/reef-v1")
    catalog.ok("build", "reef@v1")
    assert catalog.ok("verify", "oci:dist/reef-v1").startswith("verified")
    assert not catalog.leftovers()
    assert not list(catalog.root.rglob("*.partial"))


def test_temporary_files_of_a_killed_run_are_removed(catalog):
    """Wherever a killed run left one beside the bag, the next run removes it."""
    catalog.ok("build", "reef@v1")
    left = [catalog.root / "data/reef/.datapack-0123", catalog.root / ".datapack-4567"]
    for path in left:
        path.write_bytes(b"half")
    catalog.ok("build", "reef@v1")
    assert not catalog.leftovers()


def test_terminated_build_says_so(catalog):
    """SIGTERM ends a build with one line and a status that is not zero."""
    process = catalog.start("build", "reef@v1")
    while not (catalog.root / ".dvc").exists():  # DVC takes longest here
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "stopped; run the same command again to continue"
    catalog.ok("build", "reef@v1")


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


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("size", ["8k", "24k", "36k", "44k"])
@pytest.mark.parametrize("target", ["oci:dist/reef-v1", "oci-archive:dist/reef.tar"])
def test_full_disk_while_writing_layers(fetched, size, target):
    """A full disk gives one error line; nothing has a final name, and with more space the same command resumes."""
    (fetched.root / "dist").mkdir()
    script = (
        f'mount -t tmpfs -o size={size} tmpfs dist && cd . && "$@"; echo "status $?"; find dist -type f; '
        'mount -o remount,size=10m dist && "$@"'
    )
    command = fetched.command("build", "reef@v1", "--to", target)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        **fetched.options(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "status 1\n" in done.stdout
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "not enough space on the disk: expected" in error or "No space left on device" in error
    left = [line for line in done.stdout.splitlines() if line.startswith("dist/")]
    assert not [name for name in left if not name.startswith("dist/reef-v1.partial/blobs/sha256/")]
    assert not [name for name in left if ".datapack-" in name]


def test_leftovers_of_a_killed_replacement_are_no_obstacle(built):
    """An old bag that a kill left behind does not block the next replacement."""
    shutil.copytree(built.root / "data/reef/v1", built.root / "data/reef/v1+replaced.partial")
    (built.root / "source/z").write_bytes(b"Z")
    built.ok("build", "reef@v1", "--refresh", "--update-lock")
    assert (built.root / "data/reef/v1/data/z").read_bytes() == b"Z"
    assert not list(built.root.rglob("*.partial"))
