"""Logins: finds the credential that `docker login` or `podman login` stored for a repository.

The formats are those of containers-auth.json(5) and of Docker's ``config.json``: plain entries in ``auths``, and
helper programs, one per registry in ``credHelpers`` or one for all in ``credsStore``. No error shows a secret.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.registry.name import ImageName

_HUB = "docker.io"
_HUB_SERVER = "https://index.docker.io/v1/"  # what Docker calls Docker Hub in its files and to its helpers
_HUB_HOSTS = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_TOKEN_USER = "<token>"  # noqa: S105 - the user name with which a helper says that its secret is an identity token
_NOT_FOUND = "credentials not found"  # how a helper says that it has none
_TIMEOUT = 300  # seconds: a helper may ask the user for a passphrase


@dataclass(frozen=True)
class Login:
    """A user with a password, or an identity token."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header for Basic authentication; empty for an identity token."""
        if self.identity_token:
            return ""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def find_login(name: ImageName) -> Login | None:
    """Return the login for a repository from the first file that has one.

    Raises:
        ImageError: a file is damaged, or a helper program is missing or fails.
    """
    for path in _files():
        if path.is_file():
            login = _LoginFile.read(path).find(name)
            if login is not None:
                return login
    return None


def _files() -> Iterator[Path]:
    """Yield the files that may have credentials, first those that environment variables name."""
    environment = os.environ
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    docker = environment.get("DOCKER_CONFIG")
    if docker:
        yield Path(docker, "config.json")
    yield Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "containers/auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers/auth.json")
    if not docker:
        yield Path.home() / ".docker/config.json"


@dataclass(frozen=True)
class _LoginFile:
    """One file with credentials."""

    path: Path
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _LoginFile:
        try:
            settings = json.loads(path.read_bytes())
        except OSError as error:
            raise _damaged(path, error.strerror or type(error).__name__) from error
        except (ValueError, RecursionError):
            raise _damaged(path, "no JSON") from None  # the error shows what it could not read: perhaps a secret
        if not isinstance(settings, dict):
            raise _damaged(path, "not a JSON object")
        return cls(path, settings)

    def find(self, name: ImageName) -> Login | None:
        """Return the login for a repository: from a helper if the file names one, else from its own entries."""
        registry = _registry(name.registry)
        server = _HUB_SERVER if registry == _HUB else registry
        helpers = {_key(key): helper for key, helper in self._section("credHelpers").items()}
        helper = helpers.get(registry) or self.settings.get("credsStore")
        if helper:
            login = _ask(self._text(helper, "a credential helper"), server, self.path)
            if login is not None:
                return login
        return self._own(registry, name.repository)

    def _own(self, registry: str, repository: str) -> Login | None:
        """Return the login of the entry with the most specific key: a repository, a namespace or the registry."""
        entries = {_key(key): (key, entry) for key, entry in self._section("auths").items()}
        parts = [registry, *repository.split("/")]
        for count in range(len(parts), 0, -1):
            key, entry = entries.get("/".join(parts[:count]), ("", {}))
            if entry:
                return self._parse(key, entry)
        return None

    def _parse(self, key: str, entry: Any) -> Login | None:
        if not isinstance(entry, dict):
            raise _damaged(self.path, f"the entry {key!r} is not a JSON object")
        if token := entry.get("identitytoken"):
            return Login(identity_token=self._text(token, f"the entry {key!r}"))
        if auth := entry.get("auth"):
            encoded = self._text(auth, f"the entry {key!r}")
            try:
                user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
            except ValueError:
                colon = ""
            if not colon:
                raise _damaged(self.path, f"the entry {key!r} is not base64 of USER:PASSWORD") from None
            return Login(user, password.rstrip("\0"))  # Docker pads with zeros
        if "username" in entry and "password" in entry:
            user, password = (self._text(entry[name], f"the entry {key!r}") for name in ("username", "password"))
            return Login(user, password)
        return None

    def _text(self, value: Any, name: str) -> str:
        """Return a value that must be text; the error does not show it: perhaps it is a secret."""
        if not isinstance(value, str):
            raise _damaged(self.path, f"{name} is not text")
        return value

    def _section(self, name: str) -> dict[str, Any]:
        section = self.settings.get(name) or {}
        if not isinstance(section, dict):
            raise _damaged(self.path, f"{name} is not a JSON object")
        return section


def _registry(host: str) -> str:
    """Return the one name of a registry that has several."""
    return _HUB if host.lower() in _HUB_HOSTS else host.lower()


def _key(text: str) -> str:
    """Return a key of a file in one form: ``registry``, ``registry/namespace`` or ``registry/namespace/name``.

    Older programs wrote the URL of the registry's API: ``https://registry/v1/``.
    """
    address = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, slash, path = address.partition("/")
    return _registry(host) if path in {"", "v1", "v2"} else f"{_registry(host)}{slash}{path}"


def _ask(helper: str, server: str, path: Path) -> Login | None:
    """Ask a helper program for the login to a server; return None if it has none.

    Raises:
        ImageError: the program is missing, or fails, or answers with something else.
    """
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=_TIMEOUT
        )
    except FileNotFoundError:
        fix = f"install {program}, or remove {helper!r} from the file"
        raise ImageError("the credential helper is not installed", where=path, found=program, fix=fix) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _helper_failed(program, path, type(error).__name__) from None
    if done.returncode:
        if _NOT_FOUND in done.stdout.decode(errors="replace"):
            return None
        raise _helper_failed(program, path, f"exit status {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        user, secret = answer["Username"], answer["Secret"]
        if not (isinstance(user, str) and isinstance(secret, str)):
            raise TypeError
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _helper_failed(program, path, "an answer without Username and Secret") from None
    return Login(identity_token=secret) if user == _TOKEN_USER else Login(user, secret)


def _damaged(path: Path, found: str) -> ImageError:
    return ImageError(
        "the credentials can't be read",
        where=path,
        expected="what 'docker login' or 'podman login' writes",
        found=found,
        fix="log in again; remove the file if it is damaged",
    )


def _helper_failed(program: str, path: Path, found: str) -> ImageError:
    fix = f"run '{program} get' to see why, or log in again"
    return ImageError(
        "the credential helper failed", where=path, expected=f"a login from {program}", found=found, fix=fix
    )
