"""Pushing to a registry: a real one, with a proxy in front that misbehaves.

Whatever happens, nothing is called pushed that can't be pulled and verified.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from datapack.base import STAND_IN
from tests import proxies, registries
from tests.conftest import Catalog, fact, make_base
from tests.proxies import Proxy
from tests.registries import PASSWORD, USER
from tests.workplace import mount

BIG = 3_000_000  # bytes of the one large file: enough for a connection to be cut in


@pytest.fixture
def registry(tmp_path):
    with registries.serve(tmp_path) as name:
        yield name


@pytest.fixture
def proxy(registry):
    with Proxy(registry) as proxy:
        yield proxy


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    (catalog.root / "source/big.bin").write_bytes(os.urandom(BIG))
    home = catalog.root.parent / "home"
    home.mkdir()
    catalog.env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PYTHON_KEYRING_BACKEND": "none"}
    return catalog


def log_in(catalog: Catalog, registry: str, password: str = PASSWORD) -> None:
    """Leave a credential where `docker login` does."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    config = Path(catalog.env["HOME"]) / ".docker/config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


def pull_and_verify(catalog: Catalog, name: str, folder: Path) -> None:
    """Pull with skopeo, which checks each digest, and verify what came, and what the registry has."""
    command = ["skopeo", "copy", "-q", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}"]
    subprocess.run([*command, f"oci:{folder}:v1"], check=True)
    assert catalog.ok("verify", f"oci:{folder}").startswith("verified, every byte")
    assert catalog.ok("verify", f"docker://{name}").startswith("verified, every byte")


def image_of(output: str) -> str:
    return fact(output, "image").partition("@")[2]


# ---- What a push is


def test_what_a_push_says(catalog, registry, tmp_path):
    """It names the image by its digest, and gives the two commands for the data manager."""
    output = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/group/reef")
    digest = fact(output, "dataset")
    image = fact(output, "image")
    assert re.fullmatch(rf"{re.escape(registry)}/group/reef@sha256:[0-9a-f]{{64}}", image)
    assert f"\n  ces-pull GITHUB_USER TOKEN {registry}/group/reef:v1\n  ces-run {registry}/group/reef:v1\n" in output
    assert output.endswith(f"Its log ends with: IMPORT OK reef@v1 {digest}\n")
    pull_and_verify(catalog, f"{registry}/group/reef:v1", tmp_path / "pulled")
    pull_and_verify(catalog, image, tmp_path / "pulled-by-digest")


def test_the_same_image_as_in_a_layout_and_no_copy_on_disk(catalog, registry):
    """The digest is that of `build`; a push alone leaves no image on the disk."""
    pushed = image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))
    assert [path.name for path in (catalog.root / "dist").iterdir()] == ["reef-v1.provenance.json"]
    assert fact(catalog.ok("build", "reef@v1"), "image") == pushed


def test_what_is_there_is_not_sent_again(catalog, proxy):
    """The second push sends no layer, whether this machine remembers the first or only the lock does."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    for forget in (False, True):
        if forget:
            (catalog.root / ".datapack/hashes.sqlite").unlink()
        proxy.sent = 0
        done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
        assert done.returncode == 0
        assert "there already" in done.stderr
        assert " sent" not in done.stderr
        assert proxy.sent < 10_000


def test_a_blob_is_mounted_from_another_repository(catalog, proxy):
    """What another repository of the registry got from here is not sent again."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/one/reef")
    proxy.sent = 0
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/two/reef:other")
    assert done.returncode == 0
    assert "mounted from another repository" in done.stderr
    assert proxy.sent < 10_000


def test_a_name_that_is_taken_stays_what_it_is(catalog, registry):
    """Another image of the same name and tag is not replaced, unless that is asked for."""
    first = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    (catalog.root / "source/z").write_text("changed")
    catalog.ok("fetch", "reef@v1", "--refresh", "--update-lock")
    arguments = ("push", "reef@v1", "--update-lock", "--to", f"docker://{registry}/reef")
    error = catalog.fails(*arguments, status=3)
    assert f"{registry}/reef:v1: the registry has another image of this name" in error
    assert f"found {image_of(first)}" in error
    assert image_of(catalog.ok(*arguments, "--replace")) != image_of(first)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("oci:dist/x", "a push goes to a registry"),
        ("docker://reef:v1", "not the name of an image in a registry"),
        ("docker://ghcr.io/Group/reef", "not the name of an image in a registry"),
        ("docker://ghcr.io/group/reef@sha256:" + "0" * 64, "a digest is what a push gives"),
    ],
)
def test_names_that_are_none(catalog, target, words):
    """A target that is no name in a registry is refused before anything is done."""
    assert words in catalog.fails("push", "reef@v1", "--to", target, status=2)
    assert not (catalog.root / "data").exists()


def test_no_registry_in_the_catalog(catalog):
    """Without a registry in the catalog a push needs a name."""
    catalog_file = catalog.root / "datasets.yml"
    catalog_file.write_text(catalog_file.read_text().replace("registry: ghcr.io/example, ", ""))
    assert "reef@v1: no registry to push to; set defaults.registry" in catalog.fails("push", "reef@v1", status=2)


def test_an_image_on_a_stand_in_stays_here(catalog):
    """An image for tests goes to no registry but one on this machine; nothing is asked of the other."""
    make_base(catalog.root / "base", **{STAND_IN: "true"})
    error = catalog.fails("push", "reef@v1", "--to", "docker://registry.test/group/reef", status=2)
    assert "registry.test: this image stands on a stand-in base" in error
    assert not (catalog.root / "data").exists()


def test_streams_is_a_number_from_one(catalog):
    """No streams, no push."""
    done = catalog.run("push", "reef@v1", "--streams", "0")
    assert done.returncode == 2
    assert "--streams" in done.stderr


# ---- Who may


def test_no_credential(catalog, tmp_path):
    """A registry that wants a login says so before the data is read, and the error says how to log in."""
    with registries.serve(tmp_path, login=True) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert f"{registry}/reef:v1: the registry refuses an upload: found HTTP 401" in error
    assert f"no credential for {registry} was found: 'docker login {registry}'" in error
    assert not (catalog.root / "data").exists()


def test_a_credential_that_is_right(catalog, tmp_path):
    """What `docker login` kept is used; the password is in no output and no process's arguments."""
    with registries.serve(tmp_path, login=True) as registry, Proxy(registry) as proxy:
        log_in(catalog, proxy.name)
        process = catalog.start("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
        seen = _arguments_until_the_end(process)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert any(base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() in str(h) for h in proxy.headers)
    for text in (output, errors, *seen):
        assert PASSWORD not in text
        assert "Basic " not in text


def _arguments_until_the_end(process: subprocess.Popen) -> set[str]:
    """Read the arguments of all processes, over and over, until this one ends."""
    seen = set()
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        time.sleep(0.02)
    return seen


def test_a_credential_that_is_wrong(catalog, tmp_path):
    """A credential that is not accepted is another error than none, and is not shown."""
    with registries.serve(tmp_path, login=True) as registry:
        log_in(catalog, registry, "wrong-and-secret")
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert "found HTTP 401" in error
    assert f"the credential for {registry} is not accepted" in error
    assert "secret" not in error


def test_a_credential_helper(catalog, tmp_path):
    """A credential that a helper keeps is asked for as docker does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\necho '{json.dumps({'Username': USER, 'Secret': PASSWORD})}'\n")
    helper.chmod(0o755)
    with registries.serve(tmp_path, login=True) as registry:
        config = Path(catalog.env["HOME"]) / ".docker/config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"credHelpers": {registry: "test"}}))
        catalog.env["PATH"] = f"{programs}:{os.environ['PATH']}"
        catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")


def test_podman_s_credentials(catalog, tmp_path):
    """What `podman login` kept is used too."""
    with registries.serve(tmp_path, login=True) as registry:
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
        catalog.env["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
        catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")


class TokenService(Proxy):
    """A registry that wants bearer tokens, each good for so many requests: only for as much as was asked."""

    def __init__(self, upstream: str, uses: int = 1000) -> None:
        super().__init__(upstream)
        self.uses, self.given = uses, dict[str, int]()
        self.scopes: list[str] = []
        self.add("GET", r"^/token", self._give, times=10**9)
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"):
            self.add(method, r"^/v2/", self._check, times=10**9)

    def _give(self, exchange: proxies.Exchange) -> None:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if exchange.handler.headers.get("Authorization") != f"Basic {basic}":
            exchange.answer(401, [], b"")
            return
        token = f"token-{len(self.given)}-secret"
        self.given[token] = self.uses
        self.scopes.append(exchange.handler.path)
        exchange.answer(200, [], json.dumps({"token": token}).encode())

    def _check(self, exchange: proxies.Exchange) -> None:
        token = exchange.handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.given.get(token, 0) < 1:
            challenge = f'Bearer realm="http://{self.name}/token",service="tests",scope="repository:reef:pull"'
            exchange.body()
            exchange.answer(401, [("WWW-Authenticate", challenge)], b"")
            return
        self.given[token] -= 1
        exchange.answer(*exchange.forward())


@pytest.mark.parametrize("uses", [1000, 3], ids=["a long life", "out of date after three requests"])
def test_tokens(catalog, registry, uses):
    """A token is got for pull and push, and got anew when it is out of date, also in the middle of a push."""
    with TokenService(registry, uses) as service:
        log_in(catalog, service.name)
        done = catalog.run("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert done.returncode == 0, done.stderr
        assert "pull%2Cpush" in service.scopes[0]
        assert len(service.given) == 1 if uses == 1000 else len(service.given) > 3
        assert catalog.ok("verify", f"docker://{service.name}/reef:v1").startswith("verified, every byte")
    assert "secret" not in done.stdout + done.stderr


def test_403_says_what_to_check(catalog, proxy):
    """A namespace that is somebody else's is said before the data is read."""
    proxy.add("POST", "uploads", proxies.refuse(403, "DENIED"), times=99)
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert "refuses an upload: found HTTP 403 Forbidden (DENIED says the test); check that the namespace" in error
    assert not (catalog.root / "data").exists()


def test_404_of_the_namespace(catalog, proxy):
    """A namespace that is not there is said before the data is read."""
    proxy.add("POST", "uploads", proxies.refuse(404, "NAME_UNKNOWN"), times=99)
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/nobody/reef")
    assert "refuses an upload: found HTTP 404 Not Found (NAME_UNKNOWN says the test); check the name" in error


# ---- What goes wrong on the way, and goes well in the end


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
    hold = proxies.threading.Event()

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
    assert "stopped; the same command goes on from here" in errors


# ---- What does not pass


@pytest.fixture
def impatient(monkeypatch):
    """Let no time pass between tries."""
    monkeypatch.setattr("datapack.registry.upload.backoff", lambda *_: 0.0)
    monkeypatch.setattr("datapack.registry.repository.backoff", lambda *_: 0.0)
    monkeypatch.setattr("datapack.registry.connection.BACKOFF", 0.0)


@pytest.fixture
def push_here(catalog, monkeypatch, impatient, capsys):
    """Give a push within this process; it returns the exit status and the errors."""
    from datapack.cli import main

    for name, value in catalog.env.items():
        monkeypatch.setenv(name, value)

    def push(name: str, *arguments: str) -> tuple[int, str]:
        previous = signal.getsignal(signal.SIGTERM)
        status = main(["-C", str(catalog.root), "push", "reef@v1", "--to", f"docker://{name}/reef", *arguments])
        signal.signal(signal.SIGTERM, previous)
        return status, capsys.readouterr().err

    return push


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
            "the registry took a layer and says that it is another: expected sha256:",
        ),
        ("GET", "manifests", proxies.flip_in_download, "damaged: the bytes are not those that the digest"),
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


# ---- A layer that was altered, and transport that can't be trusted


def test_a_pull_whose_layer_was_altered(catalog, proxy, tmp_path):
    """Neither a pull nor a verification takes a layer that differs by a bit."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "blobs", proxies.flip_in_download, times=10**6, skip=1)
    error = catalog.fails("verify", f"docker://{proxy.name}/reef:v1", status=3)
    assert "is damaged: its bytes have sha256:" in error
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{proxy.name}/reef:v1", f"oci:{tmp_path}/x:v1"]
    assert subprocess.run(copy, capture_output=True, check=False).returncode != 0


def test_a_manifest_that_was_altered(catalog, proxy):
    """An image asked for by its digest is that image or none."""
    image = fact(catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef"), "image")
    proxy.add("GET", "manifests", proxies.flip_in_download, times=10**6)
    assert "damaged: the bytes are not those that the digest names" in catalog.fails("verify", f"docker://{image}")


def test_a_wrong_certificate(catalog, tmp_path):
    """A certificate that nobody vouches for stops the push; REQUESTS_CA_BUNDLE or --insecure go on."""
    certificate = registries.self_signed(tmp_path)
    with registries.serve(tmp_path, certificate=certificate) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
        assert f"{registry}/reef:v1: the registry's certificate can't be trusted: found self-signed" in error
        assert "REQUESTS_CA_BUNDLE" in error
        catalog.ok("push", "reef@v1", "--insecure", "--to", f"docker://{registry}/reef")
        catalog.env["REQUESTS_CA_BUNDLE"] = str(certificate[0])
        assert catalog.ok("verify", f"docker://{registry}/reef:v1").startswith("verified, every byte")


def test_a_certificate_for_another_host(catalog, tmp_path):
    """A certificate that is vouched for, but for another host, is wrong too."""
    certificate = registries.self_signed(tmp_path, "127.0.0.9")
    catalog.env["REQUESTS_CA_BUNDLE"] = str(certificate[0])
    with registries.serve(tmp_path, certificate=certificate) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert "the registry's certificate can't be trusted" in error
    assert "127.0.0.1" in error


def test_plain_http_is_for_loopback_alone(catalog, registry):
    """A registry elsewhere that speaks no TLS gets nothing, unless --insecure says so."""
    port = registry.partition(":")[2]
    elsewhere = f"elsewhere.test:{port}"
    site = catalog.root.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(  # this machine's own name for a host that is not loopback by its name
        "import socket\nreal = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda host, *a, **k: real('127.0.0.1' if host == 'elsewhere.test' else host, *a, **k)\n"
    )
    catalog.env["PYTHONPATH"] = f"{Path(__file__).parents[1]}:{site}"
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{elsewhere}/reef")
    assert f"{elsewhere}/reef:v1: the registry does not speak TLS" in error
    assert "--insecure" in error
    catalog.ok("push", "reef@v1", "--insecure", "--to", f"docker://{elsewhere}/reef")


# ---- A dataset that is private


@pytest.fixture
def private(catalog: Catalog) -> Catalog:
    text = (catalog.root / "datasets.yml").read_text().replace("licence: CC0-1.0", "licence: secret\n    private: true")
    (catalog.root / "datasets.yml").write_text(text)
    return catalog


def test_a_private_dataset_where_everybody_can_pull(private, registry):
    """The warning stands in a box, before anything is sent and after it is there."""
    done = private.run("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert done.returncode == 0
    before, after = (
        done.stderr.index(words) for words in ("EVERYBODY CAN PULL FROM", "EVERYBODY CAN PULL THIS IMAGE FROM")
    )
    assert before < done.stderr.index("layers and configuration") < after
    assert "and the catalog says that reef is private (secret)" in done.stderr
    assert re.search(r"^!{20,}$", done.stderr, re.MULTILINE)


def test_a_private_dataset_in_a_private_place(private, tmp_path):
    """Where one must log in to pull there is nothing to warn of."""
    with registries.serve(tmp_path, login=True) as registry:
        log_in(private, registry)
        done = private.run("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert done.returncode == 0
    assert "EVERYBODY" not in done.stderr


def test_a_public_dataset(catalog, registry):
    """A dataset that is not private may be pulled by everybody."""
    assert "EVERYBODY" not in catalog.run("push", "reef@v1", "--to", f"docker://{registry}/reef").stderr
