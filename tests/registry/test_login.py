"""Stored credentials: which file, entry or helper gives the login for a repository."""

from __future__ import annotations

import base64
import json
import os
import pickle
import time
from typing import TYPE_CHECKING

import pytest

from datapack.errors import ImageError
from datapack.registry import ImageName, RegistryClient
from datapack.registry.login import Login, find_login

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a-secret:with-a-colon"
NAME = ImageName.parse("registry.test:5000/group/reef:v1")


def encoded(user: str, secret: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without any credential."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def write(path: Path, settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return path


def docker(home: Path, settings: object) -> Path:
    return write(home / ".docker/config.json", settings)


def helper(home: Path, name: str, script: str, monkeypatch) -> Path:
    """Install a helper program; return the file to which it writes what it was asked."""
    program = write(home / f"bin/docker-credential-{name}", f'#!/bin/sh\necho "$1 $(cat)" >>{home}/asked\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin:/usr/bin:/bin")
    return home / "asked"


def test_no_file_gives_no_login(home):
    """Without a file there is no login, and that is no error."""
    assert find_login(NAME) is None


@pytest.mark.parametrize(
    ("path", "variable", "value"),
    [
        ("named.json", "REGISTRY_AUTH_FILE", "named.json"),
        ("docker/config.json", "DOCKER_CONFIG", "docker"),
        ("run/containers/auth.json", "", ""),
        (".config/containers/auth.json", "", ""),
        ("config/containers/auth.json", "XDG_CONFIG_HOME", "config"),
        (".docker/config.json", "", ""),
    ],
)
def test_each_file_is_read(home, monkeypatch, path, variable, value):
    """The files of podman and of docker, and those that environment variables name, give a login."""
    write(home / path, {"auths": {"registry.test:5000": encoded("me")}})
    if variable:
        monkeypatch.setenv(variable, str(home / value))
    assert find_login(NAME) == Login("me", SECRET)


def test_the_first_file_with_a_login_wins(home, monkeypatch):
    """A file that an environment variable names comes before podman's, and podman's before docker's."""
    docker(home, {"auths": {"registry.test:5000": encoded("docker")}})
    assert find_login(NAME) == Login("docker", SECRET)
    write(home / "run/containers/auth.json", {"auths": {"registry.test:5000": encoded("podman")}})
    assert find_login(NAME) == Login("podman", SECRET)
    write(home / "named.json", {"auths": {"elsewhere.test": encoded("other")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "named.json"))
    assert find_login(NAME) == Login("podman", SECRET)
    write(home / "named.json", {"auths": {"registry.test:5000": encoded("named")}})
    assert find_login(NAME) == Login("named", SECRET)


def test_docker_config_replaces_docker_s_own_folder(home, monkeypatch):
    """With DOCKER_CONFIG, docker does not read ~/.docker, and neither do we."""
    docker(home, {"auths": {"registry.test:5000": encoded("me")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "empty"))
    assert find_login(NAME) is None


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        (encoded("me"), Login("me", SECRET)),
        (encoded("me", "padded\0\0"), Login("me", "padded")),
        ({**encoded("me"), "identitytoken": "a-token"}, Login(identity_token="a-token")),
        ({"identitytoken": "a-token"}, Login(identity_token="a-token")),
        ({"username": "me", "password": SECRET}, Login("me", SECRET)),
        ({}, None),
        ({"email": "me@example.org"}, None),
    ],
    ids=["auth", "padded", "both", "identity token", "fields", "empty", "no secret"],
)
def test_each_kind_of_entry(home, entry, login):
    """An entry has USER:PASSWORD in base64, an identity token, or a user and a password."""
    docker(home, {"auths": {"registry.test:5000": entry}})
    assert find_login(NAME) == login


@pytest.mark.parametrize("pad", ["", "=", "==", "===", "\n"])
@pytest.mark.parametrize("user", ["m", "me", "mee"])
def test_the_padding_of_an_entry_does_not_matter(home, user, pad):
    """Some programs leave out the padding of base64, or write too much of it, or break the line."""
    docker(home, {"auths": {"registry.test:5000": {"auth": encoded(user)["auth"].rstrip("=") + pad}}})
    assert find_login(NAME) == Login(user, SECRET)


def test_a_password_that_is_not_utf_8_stays_as_it_is(home):
    """What is sent is what `docker login` stored, byte for byte."""
    auth = base64.b64encode(b"me:p\xe4ss").decode()
    docker(home, {"auths": {"registry.test:5000": {"auth": auth}}})
    login = find_login(NAME)
    assert login is not None
    assert login.basic == f"Basic {auth}"


@pytest.mark.parametrize("empty", [{}, None, ""])
@pytest.mark.parametrize("order", [1, -1])
def test_an_entry_that_says_nothing_hides_no_other(home, empty, order):
    """`docker login` with a helper leaves an empty entry; the same registry may be there under another spelling."""
    entries = [("registry.test:5000", empty), ("https://registry.test:5000/v1/", encoded("me"))]
    docker(home, {"auths": dict(entries[::order])})
    assert find_login(NAME) == Login("me", SECRET)
    docker(home, {"auths": {"registry.test:5000/group": {"email": "me@example.org"}, **dict(entries)}})
    assert find_login(NAME) == Login("me", SECRET)


@pytest.mark.parametrize("order", [1, -1])
def test_the_exact_spelling_of_a_key_wins(home, order):
    """Of two entries for one registry, the one that is spelled as the registry's name counts, whatever their order."""
    entries = [("registry.test:5000", encoded("exact")), ("HTTPS://registry.test:5000/v2/", encoded("url"))]
    docker(home, {"auths": dict(entries[::order])})
    assert find_login(NAME) == Login("exact", SECRET)


def test_docker_s_oldest_file(home):
    """~/.dockercfg contains the entries alone; an empty file has none."""
    write(home / ".docker/config.json", "\n")
    write(home / ".dockercfg", {"https://registry.test:5000/v1/": encoded("old")})
    assert find_login(NAME) == Login("old", SECRET)


def test_a_user_without_a_home(home, monkeypatch):
    """In a container any user ID may have neither HOME nor a line in /etc/passwd: there is no login then."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.chdir(home)
    assert find_login(NAME) is None


def test_files_that_are_no_files(home, monkeypatch):
    """A FIFO would wait for its writer, a device never ends: both are one line. So is a file that is too large."""
    path = home / "odd"
    os.mkfifo(path)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    with pytest.raises(ImageError, match=r"the credentials can't be read: .* found a FIFO;"):
        find_login(NAME)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/dev/zero")
    with pytest.raises(ImageError, match=r"/dev/zero: the credentials can't be read: .* found a device;"):
        find_login(NAME)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(5 << 20)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    with pytest.raises(ImageError, match=r"the credentials can't be read: .* found 5.24 MB;"):
        find_login(NAME)


def test_a_helper_that_leaves_a_child_behind(home, monkeypatch):
    """The child keeps the helper's output open; the wait for its end has a limit."""
    monkeypatch.setattr("datapack.registry.helper._TIMEOUT", 0.5)
    helper(home, "test", "sleep 5 & exit 0", monkeypatch)
    docker(home, {"credsStore": "test"})
    started = time.monotonic()
    with pytest.raises(ImageError, match=r"the credential helper failed: .* found no answer within 0.5 s;"):
        find_login(NAME)
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("key", ["registry.test:5000", "https://registry.test:5000/v2/", "REGISTRY.test:5000"])
def test_the_key_of_a_helper_may_be_a_url_too(home, monkeypatch, key):
    """The same spellings as of plain entries count."""
    helper(home, "test", f"echo '{json.dumps({'Username': 'me', 'Secret': SECRET})}'", monkeypatch)
    docker(home, {"credHelpers": {key: "test"}})
    assert find_login(NAME) == Login("me", SECRET)


def test_the_most_specific_key_wins(home):
    """A key may name the registry, a namespace or a repository; only whole parts of the name count."""
    auths = {"registry.test:5000": encoded("registry")}
    for key, user in (
        ("registry.test:5000/gro", "registry"),
        ("registry.test:5000/group/reefs", "registry"),
        ("registry.test:5000/group", "namespace"),
        ("registry.test:5000/group/reef", "repository"),
        ("registry.test:5000/group/reef/deeper", "repository"),
        ("registry.test", "repository"),
    ):
        auths[key] = encoded(user if user != "registry" else "wrong")
        docker(home, {"auths": auths})
        assert find_login(NAME) == Login(user, SECRET), key


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("https://registry.test:5000", "registry.test:5000/reef"),
        ("http://registry.test:5000/", "registry.test:5000/reef"),
        ("https://registry.test:5000/v1/", "registry.test:5000/reef"),
        ("registry.test:5000/v2/", "registry.test:5000/reef"),
        ("Registry.test", "registry.test/reef"),
        ("https://index.docker.io/v1/", "docker.io/library/alpine:3"),
        ("docker.io", "index.docker.io/library/alpine:3"),
        ("docker.io/library", "docker.io/library/alpine:3"),
    ],
)
def test_keys_that_name_the_registry_otherwise(home, key, name):
    """Older programs wrote a URL, and Docker Hub has several names."""
    docker(home, {"auths": {key: encoded("me")}})
    assert find_login(ImageName.parse(name)) == Login("me", SECRET)


@pytest.mark.parametrize(
    ("settings", "name", "asked"),
    [
        ({"credHelpers": {"registry.test:5000": "test"}}, NAME, "get registry.test:5000\n"),
        ({"credsStore": "test"}, NAME, "get registry.test:5000\n"),
        ({"credsStore": "other", "credHelpers": {"registry.test:5000": "test"}}, NAME, "get registry.test:5000\n"),
        ({"credsStore": "test"}, ImageName.parse("docker.io/me/reef"), "get https://index.docker.io/v1/\n"),
        (
            {"credHelpers": {"docker.io": "test"}},
            ImageName.parse("docker.io/me/reef"),
            "get https://index.docker.io/v1/\n",
        ),
    ],
    ids=["credHelpers", "credsStore", "both", "Docker Hub's store", "Docker Hub's helper"],
)
def test_a_helper_is_asked_for_the_server(home, monkeypatch, settings, name, asked):
    """The program gets the server on its standard input; a plain entry in the same file counts less."""
    said = helper(home, "test", f"echo '{json.dumps({'Username': 'me', 'Secret': SECRET})}'", monkeypatch)
    docker(home, {**settings, "auths": {"registry.test:5000": encoded("stale")}})
    assert find_login(name) == Login("me", SECRET)
    assert said.read_text() == asked


def test_a_helper_may_give_an_identity_token(home, monkeypatch):
    """The user <token> means that the secret is an identity token."""
    helper(home, "test", """echo '{"Username": "<token>", "Secret": "a-token"}'""", monkeypatch)
    docker(home, {"credsStore": "test"})
    assert find_login(NAME) == Login(identity_token="a-token")


def test_a_helper_without_the_credential_is_no_error(home, monkeypatch):
    """Where a helper has nothing, the file's own entries count."""
    helper(home, "test", "echo credentials not found in native keychain; exit 1", monkeypatch)
    docker(home, {"credsStore": "test"})
    assert find_login(NAME) is None
    docker(home, {"credsStore": "test", "auths": {"registry.test:5000": encoded("me")}})
    assert find_login(NAME) == Login("me", SECRET)


@pytest.mark.parametrize(
    ("settings", "script", "line"),
    [
        ('{"auths": {"a-secret', "", "the credentials can't be read: .* found no JSON;"),
        (["a-secret"], "", "the credentials can't be read: .* found not a JSON object;"),
        ({"auths": ["a-secret"]}, "", "the credentials can't be read: .* found auths is not a JSON object;"),
        ({"auths": {"registry.test:5000": "a-secret"}}, "", "the entry 'registry.test:5000' is not a JSON object"),
        ({"auths": {"registry.test:5000": {"auth": "a-secret"}}}, "", "is not base64 of USER:PASSWORD"),
        ({"auths": {"registry.test:5000": {"auth": "YS1zZWNyZXQ="}}}, "", "is not base64 of USER:PASSWORD"),
        ({"credsStore": "none"}, "", "the credential helper is not installed: found docker-credential-none; install"),
        ({"credsStore": "a-secret_9"}, "", r"helper is not installed: found docker-credential-\.\.\.; install"),
        ({"credsStore": "../a-secret"}, "", "found a credential helper without a proper name;"),
        ({"credsStore": "a-secret\x1b[2J"}, "", "found a credential helper without a proper name;"),
        ({"credsStore": "test"}, "echo a-secret; echo a-secret >&2; exit 3", "helper failed: .* found exit status 3;"),
        ({"credsStore": "test"}, "echo a-secret", "helper failed: .* found an answer without Username and Secret;"),
        ({"credsStore": "test"}, "echo '{}'", "helper failed: .* found an answer without Username and Secret;"),
        ({"credsStore": "te\0st"}, "", "found a credential helper without a proper name;"),
        ("[" * 100_000, "", "the credentials can't be read: .* found no JSON;"),
        ({"credsStore": {"a": "a-secret"}}, "", "found a credential helper without a proper name;"),
        ({"credHelpers": {"registry.test:5000": ["a-secret"]}}, "", "found a credential helper without a proper name;"),
        ({"auths": {"registry.test:5000": {"auth": "\u00e4-secret"}}}, "", "is not base64 of USER:PASSWORD"),
        ({"auths": {"registry.test:5000": {"auth": ["a-secret"]}}}, "", "the entry 'registry.test:5000' is not text"),
        ({"auths": {"registry.test:5000": {"identitytoken": 7}}}, "", "the entry 'registry.test:5000' is not text"),
        (
            {"auths": {"registry.test:5000": {"username": "me", "password": {"a": "a-secret"}}}},
            "",
            "the entry 'registry.test:5000' is not text",
        ),
        ({"auths": {"registry.test:5000": {"username": "me", "password": "a-secret\ud800"}}}, "", "is not text"),
        ({"auths": {"registry.test:5000": {"identitytoken": "a-secret\udcff"}}}, "", "is not text"),
        ({"credsStore": "test"}, "yes a-secret", "helper failed: .* found an answer of over 64 KiB;"),
        (
            {"credsStore": "test"},
            """echo '{"Username": "me", "Secret": "a-secret\\\\ud800"}'""",
            "helper failed: .* found an answer without Username and Secret;",
        ),
        (
            {"credsStore": "test"},
            """echo '{"Username": "me", "Secret": ["a-secret"]}'""",
            "helper failed: .* found an answer without Username and Secret;",
        ),
    ],
    ids=[
        "truncated",
        "a list",
        "auths a list",
        "entry a string",
        "not base64",
        "no colon",
        "no helper",
        "a helper that may be a secret",
        "a helper elsewhere",
        "a helper with an escape sequence",
        "helper fails",
        "helper says no JSON",
        "helper says nothing",
        "no name of a program",
        "too deep",
        "credsStore an object",
        "credHelpers a list",
        "not ASCII",
        "auth a list",
        "token a number",
        "password an object",
        "half a letter",
        "half a letter in a token",
        "helper never ends",
        "half a letter from a helper",
        "helper's secret a list",
    ],
)
def test_what_cannot_be_read_is_one_line_without_a_secret(home, monkeypatch, settings, script, line):
    """The error names the file and what is wrong with it, and shows no secret, nor does anything it came from."""
    helper(home, "test", script, monkeypatch)
    path = docker(home, settings)
    with pytest.raises(ImageError, match=line) as error:
        find_login(NAME)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    cause: BaseException | None = error.value
    while cause is not None:
        assert "a-secret" not in str(cause)
        cause = cause.__cause__


def test_a_damaged_entry_of_another_registry_does_not_matter(home):
    """Only the entries that could be used are decoded."""
    docker(home, {"auths": {"elsewhere.test": {"auth": "?"}, "registry.test:5000": encoded("me")}})
    assert find_login(NAME) == Login("me", SECRET)


def test_a_login_does_not_show_its_secrets():
    """What a debugger or a log prints of a login has no secret in it."""
    assert "a-" not in repr(Login("me", "a-password", "a-token"))


def test_a_client_is_pickled_without_its_credentials(home):
    """A unit of work may go to another process; credentials do not go with it: that process reads its own."""
    docker(home, {"auths": {"registry.test:5000": encoded("me")}})
    client = RegistryClient(NAME, actions="pull,push", sources=["other"])
    pickled = pickle.dumps(client)
    assert SECRET.encode() not in pickled
    assert encoded("me")["auth"].encode() not in pickled
    assert pickle.loads(pickled).name == NAME
