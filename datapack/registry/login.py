"""Logins: finds the credential that `docker login` or `podman login` stored for a repository.

The formats are those of containers-auth.json(5) and of Docker's ``config.json``: plain entries in ``auths``, and
helper programs, one per registry in ``credHelpers`` or one for all in ``credsStore``. No error shows a secret.
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.files import home_folder, read_limited
from datapack.registry.helper import ask_helper, is_helper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.registry.name import ImageName

_HUB = "docker.io"
_HUB_SERVER = "https://index.docker.io/v1/"  # what Docker calls Docker Hub in its files and to its helpers
_OLD_FILE = ".dockercfg"  # of Docker before 1.7: the entries alone
_HUB_HOSTS = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_TOKEN_USER = "<token>"  # noqa: S105 - the user name with which a helper says that its secret is an identity token
_LIMIT = 4 << 20  # bytes of a file
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_API_PATHS = {"", "v1", "v2"}  # in keys that are URLs of a registry's API


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
        pair = f"{self.user}:{self.password}".encode(errors="surrogateescape")
        return f"Basic {base64.b64encode(pair).decode()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that no message may show."""
        return self.password, self.identity_token, self.basic.partition(" ")[2]


def find_login(name: ImageName) -> Login | None:
    """Return the login for a repository from the first file that has one.

    Raises:
        ImageError: a file is damaged, or a helper program is missing or fails.
    """
    for path in _files():
        if os.path.exists(path):  # noqa: PTH110 - unlike `Path.exists`, it takes a folder that is closed to us for an absent file
            login = _LoginFile.read(path).find(name)
            if login is not None:
                return login
    return None


def _files() -> Iterator[Path]:
    """Yield the files that may have credentials, first those that environment variables name."""
    environment = os.environ
    home = home_folder()
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    docker = environment.get("DOCKER_CONFIG")
    if docker:
        yield Path(docker, "config.json")
    yield Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "containers/auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers/auth.json")
    if not docker:
        yield home / ".docker/config.json"
        yield home / _OLD_FILE


@dataclass(frozen=True)
class _LoginFile:
    """One file with credentials."""

    path: Path
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _LoginFile:
        try:
            settings = json.loads(read_limited(path, _LIMIT, ImageError).strip() or b"{}")  # as Docker: empty, no login
        except ImageError as error:
            raise _damaged(path, str(error.found or error.what)) from error
        except (ValueError, RecursionError):
            raise _damaged(path, "no JSON") from None  # the error shows what it could not read: perhaps a secret
        if not isinstance(settings, dict):
            raise _damaged(path, "not a JSON object")
        return cls(path, {"auths": settings} if path.name == _OLD_FILE else settings)

    def find(self, name: ImageName) -> Login | None:
        """Return the login for a repository: from a helper if the file names one, else from its own entries."""
        registry = _registry(name.registry)
        helper = _most_exact(self._section("credHelpers"), registry)[1] or self.settings.get("credsStore")
        if helper:
            if not is_helper(helper):
                raise _damaged(self.path, "a credential helper without a proper name")
            pair = ask_helper(helper, _HUB_SERVER if registry == _HUB else registry, self.path)
            if pair is not None:
                user, secret = pair
                return Login(identity_token=secret) if user == _TOKEN_USER else Login(user, secret)
        return self._own(registry, name.repository)

    def _own(self, registry: str, repository: str) -> Login | None:
        """Return the login of the entry with the most specific key: a repository, a namespace or the registry."""
        entries, parts = self._section("auths"), [registry, *repository.split("/")]
        for count in range(len(parts), 0, -1):
            key, entry = _most_exact(entries, "/".join(parts[:count]))
            login = self._parse(key, entry) if entry else None
            if login is not None:
                return login
        return None

    def _parse(self, key: str, entry: Any) -> Login | None:
        if not isinstance(entry, dict):
            raise _damaged(self.path, f"the entry {key!r} is not a JSON object")
        if token := entry.get("identitytoken"):
            return Login(identity_token=self._text(token, f"the entry {key!r}"))
        if auth := entry.get("auth"):
            encoded = self._text(auth, f"the entry {key!r}")
            user, colon, password = _decode(encoded).partition(":")
            if not colon:
                raise _damaged(self.path, f"the entry {key!r} is not base64 of USER:PASSWORD")
            return Login(user, password.rstrip("\0"))  # Docker pads with zeros
        if "username" in entry and "password" in entry:
            user, password = (self._text(entry[name], f"the entry {key!r}") for name in ("username", "password"))
            return Login(user, password)
        return None

    def _text(self, value: Any, name: str) -> str:
        """Return a value that must be text; the error does not show it: perhaps it is a secret."""
        if not (isinstance(value, str) and _is_unicode(value)):
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
    host, slash, path = _SCHEME.sub("", text, count=1).rstrip("/").partition("/")
    return _registry(host) if path in _API_PATHS else f"{_registry(host)}{slash}{path}"


def _most_exact(section: Mapping[str, Any], key: str) -> tuple[str, Any]:
    """Return the entry with a key, spelled as it is or in another form; one that says something comes first."""
    found = [(spelled, value) for spelled, value in section.items() if _key(spelled) == key]
    return max(found, key=lambda entry: (bool(entry[1]), entry[0] == key), default=("", None))


def _decode(encoded: str) -> str:
    """Decode base64, with its padding or without; return nothing if it is none. Not every password is UTF-8."""
    plain = "".join(encoded.split()).rstrip("=")
    try:
        content = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return ""
    return content.decode(errors="surrogateescape")


def _is_unicode(text: str) -> bool:
    """Whether a text can be sent; JSON can contain halves of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _damaged(path: Path, found: str) -> ImageError:
    return ImageError(
        "the credentials can't be read",
        where=path,
        expected="what 'docker login' or 'podman login' writes",
        found=found,
        fix="log in again; remove the file if it is damaged",
    )
