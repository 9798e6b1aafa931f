"""Failures of pushes: a temporary one costs a retry, a permanent one gives one clear line."""

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
        "a lost upload session",
        "a lost answer to the bytes",
        "a flipped byte",
        "a session lost at its end",
        "a lost answer at the end",
        "a lost answer to the manifest",
        "500 for the manifest",
        "503 for a new upload",
        "502 for a HEAD",
    ],
)
def test_a_passing_failure(catalog, proxy, tmp_path, method, path, act, skip):
    """A single fault costs a retry; in the end the image is complete."""
    proxy.add(method, path, act, skip=skip)
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert proxy.faults[0].times == 0  # the fault did happen
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_an_interrupted_download_resumes(catalog, proxy, fraction):
    """A verification resumes where its connection was cut."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "blobs", proxies.cut_download(fraction), times=2, skip=1)
    assert catalog.ok("verify", f"docker://{proxy.name}/reef:v1").startswith("verified, every byte")
    assert proxy.faults[0].times == 0


def test_a_killed_push_resumes(catalog, proxy, tmp_path):
    """After kill -9, the same command sends only what is missing; half an image was never visible."""
    hold = threading.Event()

    def wait(exchange: proxies.Exchange) -> None:
        hold.wait(60)
        raise proxies.HangUpError

    proxy.add("PATCH", "", wait, times=1, skip=2)
    process = catalog.start("push", "reef@v1", "--streams", "1", "--to", f"docker://{proxy.name}/reef")
    while proxy.requests["PATCH"] < 3:
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


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_push_ends_soon(catalog, proxy):
    """Ctrl-C ends a push while it waits for the registry; the message says that the same command resumes it."""
    proxy.add("PATCH", "", proxies.refuse(503, "UNAVAILABLE", {"Retry-After": "300"}), times=99)
    process = catalog.start("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    while not proxy.requests["PATCH"]:
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
            proxies.replace_header("Docker-Content-Digest", "sha256:" + "1" * 64),
            "the registry stored a different layer from the one that was sent: expected sha256:",
        ),
        ("GET", "manifests", proxies.flip_in_download, "damaged: the bytes do not match the digest"),
        ("PUT", "manifests", proxies.refuse(413, "SIZE_INVALID"), "refuses the manifest v1: found HTTP 413"),
    ],
    ids=["cut", "500", "429", "session", "damage", "another digest", "another manifest", "manifest refused"],
)
def test_a_lasting_failure(push_here, registry, proxy, method, path, act, words):
    """A fault in every try ends in one clear line, and no image is visible."""
    proxy.add(method, path, act, times=10**6, skip=1 if path == "manifests" and method == "GET" else 0)
    status, errors = push_here(proxy.name)
    assert status == 1
    (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
    assert f"{proxy.name}/reef:v1: " in line
    assert words in line, line


def test_a_full_disk_at_the_registry(push_here, catalog, tmp_path):
    """A registry whose disk is full refuses; once there is room, the same push succeeds and verifies."""
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
    """A file that differs from the manifest stops the push with its name."""
    catalog.ok("fetch", "reef@v1")
    victim = catalog.root / "data/reef/v1/data/source/big.bin"
    if not victim.exists():
        victim = next((catalog.root / "data/reef/v1/data").rglob("big.bin"))
    victim.chmod(0o644)
    victim.write_bytes(os.urandom(BIG))
    status, errors = push_here(registry)
    assert status == 3
    assert "big.bin: the file differs from the bag's manifest" in errors


def test_a_changed_file_with_the_same_size_and_time(push_here, catalog, registry):
    """A known layer is hashed by the registry and not again here; the changed file is named all the same."""
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
    assert "big.bin: the file differs from the bag's manifest" in errors


def test_a_registry_that_fails_on_a_blob(push_here, catalog, proxy, tmp_path):
    """A blob for which the registry returns an error, as after a full disk, is sent again."""
    assert push_here(proxy.name)[0] == 0
    proxy.add("HEAD", "/blobs/", proxies.refuse(500, "UNKNOWN"), times=6)
    status, errors = push_here(proxy.name, "--streams", "1")
    assert status == 0, errors
    assert re.search(r"1 \([^)]*\) sent, \d+ \([^)]*\) there already", errors), errors
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")


def test_a_registry_that_never_accepts_its_own_tokens(catalog, registry):
    """When each new token is refused too, the push ends soon, in one line."""
    with TokenService(registry, uses=0) as service:
        log_in(catalog, service.name)
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert "found HTTP 401" in error
        assert len(service.given) < 6
