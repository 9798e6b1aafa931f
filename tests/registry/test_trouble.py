"""What goes wrong on the way to a registry: what passes costs another try, what stays is one clear line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from tests import proxies, registries
from tests.registry.pushing import BIG, TokenService, log_in, pull_and_verify
from tests.workplace import mount


@pytest.mark.parametrize(
    ("method", "path", "act", "skip"),
    [
        ("PATCH", "", proxies.cut_upload(0.1), 0),
        ("PATCH", "", proxies.cut_upload(0.5), 1),
        ("PATCH", "", proxies.cut_upload(0.99), 2),
        ("PATCH", "", proxies.refuse(500, "UNKNOWN", read=0.5), 1),
        ("PATCH", "", proxies.refuse(429, "TOOMANYREQUESTS", {"Retry-After": "1"}), 1),
        ("PATCH", "", proxies.refuse(404, "BLOB_UPLOAD_UNKNOWN"), 1),
        ("PATCH", "", proxies.lose_answer, 1),
        ("PATCH", "", proxies.flip_in_upload, 2),
        ("PUT", "blobs", proxies.refuse(404, "BLOB_UPLOAD_UNKNOWN"), 0),
        ("PUT", "blobs", proxies.lose_answer, 2),
        ("PUT", "manifests", proxies.lose_answer, 0),
        ("PUT", "manifests", proxies.refuse(500), 0),
        ("POST", "uploads", proxies.refuse(503, "UNAVAILABLE"), 2),
        ("HEAD", "blobs", proxies.refuse(502), 0),
    ],
    ids=[
        "cut at 10 %",
        "cut at 50 %",
        "cut at 99 %",
        "500 in the middle of a blob",
        "429 with Retry-After",
        "a forgotten upload session",
        "an answer to the bytes that is lost",
        "a byte that is flipped on the way",
        "a session forgotten at its end",
        "an answer to the end that is lost",
        "an answer to the manifest that is lost",
        "500 at the manifest",
        "503 at a beginning",
        "502 at a question",
    ],
)
def test_trouble_that_passes(catalog, proxy, tmp_path, method, path, act, skip):
    """One fault costs another try, and the image is there and whole in the end."""
    proxy.add(method, path, act, skip=skip)
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert proxy.faults[0].times == 0  # it did happen
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_download_that_is_cut_goes_on(catalog, proxy, fraction):
    """A verification whose connection is cut goes on from there."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "blobs", proxies.cut_download(fraction), times=2, skip=1)
    assert catalog.ok("verify", f"docker://{proxy.name}/reef:v1").startswith("verified, every byte")
    assert proxy.faults[0].times == 0


def test_a_push_that_is_killed_goes_on(catalog, proxy, tmp_path):
    """After kill -9 the same command sends only what is missing, and nobody has seen half an image meanwhile."""
    hold = threading.Event()

    def wait(exchange: proxies.Exchange) -> None:
        hold.wait(60)
        raise proxies.HangUpError

    proxy.add("PATCH", "", wait, times=1, skip=2)
    process = catalog.start("push", "reef@v1", "--streams", "1", "--to", f"docker://{proxy.name}/reef")
    while proxy.asked["PATCH"] < 3:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    hold.set()
    assert "has no such manifest" in catalog.fails("verify", f"docker://{proxy.name}/reef:v1")
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert done.returncode == 0
    assert re.search(r"[1-9]\d* \([^)]*\) there already", done.stderr), done.stderr
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")


def test_a_push_that_is_interrupted_ends_soon(catalog, proxy):
    """Ctrl-C ends a push although the registry keeps it waiting, and says that the same command goes on."""
    proxy.add("PATCH", "", proxies.refuse(503, "UNAVAILABLE", {"Retry-After": "300"}), times=99)
    process = catalog.start("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    while not proxy.asked["PATCH"]:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; run the same command again to continue" in errors


@pytest.mark.parametrize(
    ("method", "path", "act", "words"),
    [
        ("PATCH", "", proxies.cut_upload(0.5), "the registry can't be reached"),
        ("PATCH", "", proxies.refuse(500, "UNKNOWN"), "refuses the bytes of a layer: found HTTP 500"),
        ("PATCH", "", proxies.refuse(429), "refuses the bytes of a layer: found HTTP 429"),
        ("PATCH", "", proxies.refuse(404, "BLOB_UPLOAD_UNKNOWN"), "found HTTP 404 Not Found (BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "", proxies.flip_in_upload, "DIGEST_INVALID"),
        (
            "PUT",
            "blobs",
            proxies.rename("Docker-Content-Digest", "sha256:" + "1" * 64),
            "the registry stored another layer than the one that was sent: expected sha256:",
        ),
        ("GET", "manifests", proxies.flip_in_download, "damaged: the bytes do not match the digest"),
        ("PUT", "manifests", proxies.refuse(413, "SIZE_INVALID"), "refuses the manifest v1: found HTTP 413"),
    ],
    ids=["cut", "500", "429", "session", "damage", "another digest", "another manifest", "manifest refused"],
)
def test_trouble_that_stays(push_here, registry, proxy, method, path, act, words):
    """A fault at every try ends in one clear line, and nobody can see an image."""
    proxy.add(method, path, act, times=10**6, skip=1 if path == "manifests" and method == "GET" else 0)
    status, errors = push_here(proxy.name)
    assert status == 1
    (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
    assert f"{proxy.name}/reef:v1: " in line
    assert words in line, line


def test_a_full_disk_at_the_registry(push_here, catalog, tmp_path):
    """A registry that has no room is said to have failed; with room again the same push goes on and verifies."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, "size=2m"):
        pytest.skip("mounting a small disk needs root")
    try:
        with registries.serve(disk) as registry:
            status, errors = push_here(registry)
            assert status == 1
            assert "refuses" in errors
            assert "HTTP 50" in errors
            assert "has no such manifest" in catalog.fails("verify", f"docker://{registry}/reef:v1")
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            status, errors = push_here(registry)
            assert status == 0, errors
            pull_and_verify(catalog, f"{registry}/reef:v1", tmp_path / "pulled")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_file_that_changed_since_it_was_fetched(push_here, catalog, registry):
    """A file that is not what the manifest says stops the push with its name."""
    catalog.ok("fetch", "reef@v1")
    victim = catalog.root / "data/reef/v1/data/source/big.bin"
    if not victim.exists():
        victim = next((catalog.root / "data/reef/v1/data").rglob("big.bin"))
    victim.chmod(0o644)
    victim.write_bytes(os.urandom(BIG))
    status, errors = push_here(registry)
    assert status == 3
    assert "big.bin: the file is not what the bag's manifest says" in errors


def test_a_file_that_changed_and_looks_as_before(push_here, catalog, registry):
    """A layer that is known is not hashed again here, but by the registry; the file is named all the same."""
    catalog.ok("build", "reef@v1")
    victim = next((catalog.root / "data/reef/v1/data").rglob("big.bin"))
    stat = victim.stat()
    victim.chmod(0o644)
    content = bytearray(victim.read_bytes())
    content[BIG // 2] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    status, errors = push_here(registry)
    assert status == 3
    assert "big.bin: the file is not what the bag's manifest says" in errors


def test_a_registry_that_stumbles_over_a_blob(push_here, catalog, proxy, tmp_path):
    """A blob that the registry can't answer for, as after its disk was full, is sent again."""
    assert push_here(proxy.name)[0] == 0
    proxy.add("HEAD", "/blobs/", proxies.refuse(500, "UNKNOWN"), times=6)
    status, errors = push_here(proxy.name, "--streams", "1")
    assert status == 0, errors
    assert re.search(r"1 \([^)]*\) sent, \d+ \([^)]*\) there already", errors), errors
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")


def test_a_registry_that_never_accepts_its_own_tokens(catalog, registry):
    """A new token for each request that is refused all the same ends soon, in one line."""
    with TokenService(registry, uses=0) as service:
        log_in(catalog, service.name)
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert "found HTTP 401" in error
        assert len(service.given) < 6
