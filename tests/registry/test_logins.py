"""Who may push: credentials, tokens, and registries that refuse."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import proxies, registries
from tests.registries import PASSWORD, USER
from tests.registry.pushing import TokenService, image_of, log_in

if TYPE_CHECKING:
    import subprocess


def test_no_credential(catalog, tmp_path):
    """A registry that wants a login says so before the data is read, and the error says how to log in."""
    with registries.serve(tmp_path, login=True) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert f"{registry}/reef:v1: the registry refuses an upload: found HTTP 401" in error
    assert f"no credential for {registry} was found: 'docker login {registry}'" in error
    assert not (catalog.root / "data").exists()


def test_a_credential_that_is_right(catalog, tmp_path):
    """What `docker login` kept is used; the password is in no output and no process's arguments."""
    with registries.serve(tmp_path, login=True) as registry, proxies.Proxy(registry) as proxy:
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
        assert image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))


@pytest.mark.parametrize(
    "config",
    ['{"auths": {"a-secret', '{"credHelpers": {"REGISTRY": "odd"}}', '["a-secret"]'],
    ids=["no JSON", "a helper that answers nothing", "another form"],
)
def test_credentials_that_cannot_be_read(catalog, tmp_path, config):
    """A damaged file of credentials, or a helper that answers with nonsense, is one line that shows none of it."""
    helper = tmp_path / "docker-credential-odd"
    helper.write_text("#!/bin/sh\necho '{}'\n")
    helper.chmod(0o755)
    catalog.env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    with registries.serve(tmp_path) as registry:
        file = Path(catalog.env["HOME"]) / ".docker/config.json"
        file.parent.mkdir()
        file.write_text(config.replace("REGISTRY", registry))
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert f"{registry}: the credentials can't be read" in error
    assert "a-secret" not in error


def test_podman_s_credentials(catalog, tmp_path):
    """What `podman login` kept is used too."""
    with registries.serve(tmp_path, login=True) as registry:
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
        catalog.env["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
        assert image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))


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
