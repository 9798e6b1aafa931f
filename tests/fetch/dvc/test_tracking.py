"""The real DVC: bags are tracked once, restored completely and pushed; and what can go wrong."""

import functools
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Catalog, fact, make_catalog
from tests.registries import self_signed

pytestmark = pytest.mark.slow  # DVC starts in each test, in many of them several times


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_):
        pass


def git(catalog: Catalog, *arguments: str) -> str:
    identity = ["-c", "user.name=A test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=catalog.root, capture_output=True, text=True, check=True
    ).stdout


def dvc(catalog: Catalog, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=catalog.root, check=True, capture_output=True, env=catalog.options()["env"])


@pytest.fixture(scope="module")
def published_once(tmp_path_factory):
    """A catalog in git whose version is in the DVC remote beside it, to be copied; its image digest is in ``image``."""
    catalog = make_catalog(tmp_path_factory.mktemp("published") / "catalog")
    git(catalog, "init", "-q")
    dvc(catalog, "init", "-q")
    dvc(catalog, "remote", "add", "--default", "shelf", "../remote")
    (catalog.root / ".gitignore").write_text(".datapack/\ndist/\n*.partial/\n")
    catalog.image = fact(catalog.ok("build", "reef@v1", "--push-data"), "image")
    git(catalog, "add", "datasets.yml", "datasets.lock", ".gitignore", ".dvc", "data", "base")
    git(catalog, "commit", "-qm", "reef@v1")
    return catalog


@pytest.fixture
def published(published_once, tmp_path):
    """A copy of that catalog and of its remote."""
    return copy_published(published_once, tmp_path)


def copy_published(original: Catalog, folder: Path) -> Catalog:
    """Copy a catalog and the DVC remote beside it."""
    shutil.copytree(original.root.parent / "remote", folder / "remote")
    catalog = original.copy(folder / "catalog")
    catalog.image = original.image
    return catalog


def clone(catalog: Catalog, folder) -> Catalog:
    """Clone with git only: neither the sources nor DVC's cache are copied."""
    subprocess.run(["git", "clone", "-q", catalog.root, folder], check=True, capture_output=True)
    return Catalog(folder)


def test_git_has_pointers_and_no_data(published):
    """Git tracks the pointer and ignores the bag."""
    tracked = git(published, "ls-files").split()
    assert "data/reef/v1.dvc" in tracked
    assert not [name for name in tracked if name.startswith("data/reef/v1/")]


def test_clone_rebuilds_the_same_image_without_its_sources(published, tmp_path):
    """With git and the remote, but without the sources, the image is the same byte for byte."""
    other = clone(published, tmp_path / "clone")
    shutil.rmtree(published.root)
    assert not (other.root / "source").exists()
    output = other.ok("build", "reef@v1")
    assert fact(output, "image") == published.image
    assert other.ok("verify", "oci:dist/reef-v1").startswith("verified")
    assert git(other, "status", "--porcelain") == ""


def test_lost_file_is_restored_from_the_cache(published):
    """The file comes back from DVC, and the bag gets its final name only when it is complete."""
    shutil.rmtree(published.root / "source")
    (published.root / "data/reef/v1/data/images/a b.png").unlink()
    assert fact(published.ok("build", "reef@v1"), "image") == published.image


def test_restored_bag_has_no_files_of_a_killed_fetch(published):
    """Other content in the partial bag is replaced by that from DVC."""
    shutil.rmtree(published.root / "data/reef/v1")
    partial = published.root / "data/reef/v1.partial/data"
    (partial / "images").mkdir(parents=True)
    (partial / "other").write_bytes(b"from another time")
    (partial / "images/a b.png").write_bytes(b"half")
    assert fact(published.ok("build", "reef@v1"), "image") == published.image
    assert not (published.root / "data/reef/v1/data/other").exists()


def test_restored_bag_does_not_follow_a_link(published, tmp_path):
    """Where the payload folder is a link, DVC writes nothing behind it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(published.root / "data/reef/v1/data")
    (published.root / "data/reef/v1/data").symlink_to(elsewhere)
    assert "found a link" in published.fails("verify", "reef@v1")
    assert fact(published.ok("build", "reef@v1"), "image") == published.image
    assert not (published.root / "data/reef/v1/data").is_symlink()
    assert not list(elsewhere.iterdir())


def test_damaged_cache_is_detected(published, tmp_path):
    """A flipped byte in DVC's cache never gets into a bag; the next run gets the file from the remote."""
    (victim,) = (p for p in (published.root / ".dvc/cache").rglob("*") if p.is_file() and p.stat().st_size == 3000)
    victim.chmod(0o644)
    victim.write_bytes(b"b" + victim.read_bytes()[1:])
    victim.chmod(0o444)
    shutil.rmtree(published.root / "data/reef/v1")
    error = published.fails("build", "reef@v1", status=3)
    assert "DVC's cache held files that differ from the bag's manifest" in error
    assert "changed  data/images/a b.png" in error
    assert not (published.root / "data/reef/v1").exists()
    assert not victim.exists()
    assert fact(published.ok("build", "reef@v1"), "image") == published.image


@pytest.mark.parametrize("name", ["manifest-sha256.txt", "bag-info.txt", "tagmanifest-sha256.txt"])
def test_damaged_tag_file_in_the_cache_is_detected(published, name):
    """The cache gives it up too; without that, every later run would restore the same damaged bag."""
    victim = published.root / "data/reef/v1" / name
    same = next(p for p in (published.root / ".dvc/cache").rglob("*") if p.is_file() and p.samefile(victim))
    same.chmod(0o644)
    same.write_bytes(b"damaged\n")
    same.chmod(0o444)
    shutil.rmtree(published.root / "data/reef/v1")
    error = published.fails("build", "reef@v1", status=3)
    assert "DVC's cache held files that differ from the bag's manifest" in error
    assert name in error
    assert not same.exists()
    assert fact(published.ok("build", "reef@v1"), "image") == published.image


def test_sources_are_used_if_the_remote_is_gone(published, tmp_path):
    """Without cache and remote, the sources give the same bag, or the lock stops the build."""
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(published.root / ".dvc/cache")
    shutil.rmtree(published.root / "data/reef/v1")
    done = published.run("build", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert "'dvc pull" in done.stderr
    assert fact(done.stdout, "image") == published.image


def test_push_without_a_remote_says_what_to_do(catalog):
    """`--push-data` without a remote names the command that adds one."""
    assert "dvc remote add --default" in catalog.fails("build", "reef@v1", "--push-data")
    assert not (catalog.root / "dist").exists()


def test_dvcignore_that_excludes_files_is_detected(catalog):
    """DVC would lose files that a .dvcignore excludes, so the build stops."""
    catalog.ok("build", "reef@v1")
    (catalog.root / "data/reef/v1.dvc").unlink()
    (catalog.root / ".dvcignore").write_text("*.json\n")
    error = catalog.fails("build", "reef@v1")
    assert "DVC does not track every file of the bag: expected 8 files, found 7 files" in error


@pytest.mark.parametrize("bag_is_here", [True, False])
def test_pointer_that_a_kill_left_empty_is_written_again(published, bag_is_here):
    """DVC empties its pointer before it writes it: a kill between the two must not stop the next build."""
    pointer = published.root / "data/reef/v1.dvc"
    before = pointer.read_bytes()
    pointer.write_bytes(b"")
    if not bag_is_here:
        shutil.rmtree(published.root / "data/reef/v1")
    assert fact(published.ok("build", "reef@v1"), "image") == published.image
    assert pointer.read_bytes() == before


def test_broken_pointer_is_named(published):
    """A pointer that is none, such as one with a merge conflict, gives an error that names it, not a traceback."""
    pointer = published.root / "data/reef/v1.dvc"
    pointer.write_text("<<<<<<< HEAD\n")
    assert "v1.dvc:1: unresolved merge conflict" in published.fails("build", "reef@v1")
    for content in ("- 1\n", "outs: []\n", "outs: [{path: v1}]\n"):
        pointer.write_text(content)
        assert "v1.dvc: DVC's pointer can't be read" in published.fails("build", "reef@v1")
    shutil.rmtree(published.root / "data/reef/v1")
    assert "v1.dvc: DVC's pointer can't be read" in published.fails("build", "reef@v1")


def test_dvc_repository_in_a_parent_folder_is_used(catalog, tmp_path):
    """datapack does not create a second repository inside one."""
    above = Catalog(tmp_path)
    dvc(above, "init", "-q", "--no-scm")
    catalog.ok("build", "reef@v1")
    assert not (catalog.root / ".dvc").exists()
    assert any((tmp_path / ".dvc/cache").rglob("*.dir"))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_dvc_trusts_what_datapack_trusts(published, tmp_path, monkeypatch, variable):
    """A remote may have a certificate of one's own; whichever variable names it counts in every command."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in (".dvc/cache", "data/reef/v1", "source"):
        shutil.rmtree(published.root / name)
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "remote"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = published.root / ".dvc/config"
        url = f"https://127.0.0.1:{server.server_port}"
        config.write_text(config.read_text().replace("../../remote", url).replace("../remote", url))
        assert "'dvc pull" in published.fails("fetch", "reef@v1")
        published.env[variable] = str(certificate)
        published.ok("fetch", "reef@v1")
        server.shutdown()
