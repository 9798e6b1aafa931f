"""Logging in to a registry: credentials, tokens, and registries that refuse. Unit tests are in test_login.py."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datapack.oci.spec import LAYER, Descriptor
from datapack.registry import ImageName, RegistryClient, Repository
from tests import proxies, registries
from tests.registries import PASSWORD, USER
from tests.registry.pushing import TokenService, image_of, log_in, write_docker_config

if TYPE_CHECKING:
    import subprocess

BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def test_no_credential(unfetched, tmp_path):
    """A registry that requires a login refuses before the data is read, and the error says how to log in."""
    with registries.serve(tmp_path, login=True) as registry:
        error = unfetched.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert f"{registry}/reef:v1: the registry refuses an upload: found HTTP 401" in error
    assert f"no credential for {registry} was found: log in with 'docker login {registry}'" in error
    assert not (unfetched.root / "data").exists()


def test_a_correct_credential(catalog, tmp_path):
    """What `docker login` stored is used; the password is in no output and in no process's arguments."""
    with registries.serve(tmp_path, login=True) as registry, proxies.Proxy(registry) as proxy:
        log_in(catalog, proxy.name)
        process = catalog.start("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
        seen = _arguments_until_the_end(process)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert any(BASIC in str(headers) for headers in proxy.headers)
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


def test_a_wrong_credential(catalog, tmp_path):
    """A rejected credential is another error than a missing one, and is not shown."""
    with registries.serve(tmp_path, login=True) as registry:
        log_in(catalog, registry, "wrong-and-secret")
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert "found HTTP 401" in error
    assert f"the credential for {registry} is not accepted" in error
    assert "secret" not in error


def test_a_credential_helper(catalog, tmp_path):
    """A credential in a helper's store is used."""
    programs = tmp_path / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\necho '{json.dumps({'Username': USER, 'Secret': PASSWORD})}'\n")
    helper.chmod(0o755)
    with registries.serve(tmp_path, login=True) as registry:
        write_docker_config(catalog, {"credHelpers": {registry: "test"}})
        catalog.env["PATH"] = f"{programs}:{os.environ['PATH']}"
        assert image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))


def test_a_credential_of_podman(catalog, tmp_path):
    """What `podman login` stored is used too."""
    with registries.serve(tmp_path, login=True) as registry:
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry: {"auth": BASIC}}}))
        catalog.env["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
        assert image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))


def test_a_credential_in_netrc_is_not_used(catalog, tmp_path):
    """~/.netrc is for other programs: it neither logs in nor replaces the registry's own credential."""
    with registries.serve(tmp_path, login=True) as registry:
        netrc = Path(catalog.env["HOME"]) / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        assert "found HTTP 401" in catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
        netrc.write_text(f"machine 127.0.0.1 login {USER} password wrong\n")
        log_in(catalog, registry)
        assert image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))


def test_a_damaged_file_of_credentials(catalog):
    """It stops the push with one line that names the file and shows none of its content."""
    file = write_docker_config(catalog, ["a-secret"])
    error = catalog.fails("push", "reef@v1", "--to", "docker://127.0.0.1:1/reef")
    assert f"{file}: the credentials can't be read" in error
    assert "a-secret" not in error


@pytest.mark.parametrize("uses", [1000, 3], ids=["long-lived", "expired after three requests"])
def test_tokens(catalog, registry, uses):
    """A token is requested for pull and push, and renewed when it has expired, even in the middle of a push."""
    with TokenService(registry, uses) as service:
        log_in(catalog, service.name)
        done = catalog.run("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert done.returncode == 0, done.stderr
        assert "pull%2Cpush" in service.scopes[0]
        assert len(service.given) == 1 if uses == 1000 else len(service.given) > 3
        assert catalog.ok("verify", f"docker://{service.name}/reef:v1").startswith("verified, every byte")
    assert "secret" not in done.stdout + done.stderr


def test_an_identity_token(catalog, registry):
    """An identity token is exchanged for a token; neither is in the output."""
    with TokenService(registry) as service:
        write_docker_config(catalog, {"auths": {service.name: {"identitytoken": PASSWORD}}})
        done = catalog.run("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert done.returncode == 0, done.stderr
        assert service.scopes == ["repository:reef:pull,push"]
    assert "secret" not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_a_wrong_identity_token(catalog, registry):
    """It is the registry's 401, in one line."""
    with TokenService(registry) as service:
        write_docker_config(catalog, {"auths": {service.name: {"identitytoken": "wrong-and-secret"}}})
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{service.name}/reef")
    assert f"the credential for {service.name} is not accepted" in error
    assert "secret" not in error


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_credential_goes_to_no_other_host(catalog, tmp_path, monkeypatch, status):
    """A registry may redirect a download to another host, which gets neither the password nor the token."""
    for name, value in catalog.env.items():
        monkeypatch.setenv(name, value)
    blob = f"sha256:{'0' * 64}"
    with (
        registries.serve(tmp_path, login=True) as registry,
        proxies.Proxy(registry) as proxy,
        proxies.Proxy(registry) as storage,
    ):
        log_in(catalog, proxy.name)
        repository = Repository(RegistryClient(ImageName.parse(f"{proxy.name}/reef:v1")))
        assert repository.blob_size(blob) is None  # now the client is logged in
        location = [("Location", f"http://{storage.name}/storage")]
        proxy.add("GET", "/blobs/", lambda exchange: exchange.answer(status, location, b""))
        storage.add("GET", "/storage", lambda exchange: exchange.answer(200, [], b"content"))
        assert b"".join(repository.blob(Descriptor(LAYER, blob, len(b"content")))) == b"content"
    assert "Authorization" in proxy.headers[-1]
    (headers,) = storage.headers
    assert "Authorization" not in headers


def test_a_registry_that_repeats_the_credential(catalog, registry):
    """What it refuses is not shown, in no form: the output may be in a log that others read."""
    with proxies.Proxy(registry) as proxy:
        log_in(catalog, proxy.name)

        def repeat(exchange: proxies.Exchange) -> None:
            given = exchange.handler.headers.get("Authorization", "")
            message = f"{given} that is {base64.b64decode(given.partition(' ')[2]).decode()} is wrong"
            content = json.dumps({"errors": [{"code": given, "message": message}]}).encode()
            exchange.answer(401, [("WWW-Authenticate", "Basic")], content)

        proxy.add("POST", "uploads/", repeat, times=99)
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert PASSWORD not in error
    assert BASIC not in error
    assert "is wrong" in error


def test_a_forbidden_namespace(unfetched, proxy):
    """Somebody else's namespace is refused before the data is read; the error says what to check."""
    proxy.add("POST", "uploads", proxies.refuse(403, "DENIED"), times=99)
    error = unfetched.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert "refuses an upload: found HTTP 403 Forbidden (DENIED says the test); check that the namespace" in error
    assert not (unfetched.root / "data").exists()


def test_a_missing_namespace(catalog, proxy):
    """A namespace that does not exist is refused before the data is read."""
    proxy.add("POST", "uploads", proxies.refuse(404, "NAME_UNKNOWN"), times=99)
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/nobody/reef")
    assert "refuses an upload: found HTTP 404 Not Found (NAME_UNKNOWN says the test); check the name" in error
