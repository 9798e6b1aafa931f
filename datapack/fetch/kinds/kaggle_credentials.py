"""Find the Kaggle credential and check it. Its content is never shown.

kagglehub looks in the same places in the same order, but its errors do not say what is wrong with an invalid one.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from datapack.errors import FetchError
from datapack.files import home_folder, read_limited

TOKEN, USERNAME, KEY, CONFIG = "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"
MAKE_ONE = "create a token at https://www.kaggle.com/settings/api"
_LIMIT = 1 << 20  # bytes
_PLAIN = re.compile(r"[!-~]+")  # what an HTTP header can contain


def find_kaggle_credential() -> str | None:
    """Return the name of the variable or file with the credential, or None if there is none.

    Raises:
        FetchError: the credential can't be used.
    """
    if token := os.environ.get(TOKEN):
        path = Path(token)
        _check_plain(_read(path) if _exists(path) else token, TOKEN)
        return TOKEN
    for path in _token_files():
        if _exists(path) and (token := _read(path)):
            _check_plain(token, path)
            return str(path)
    return _find_older()


def kaggle_places() -> str:
    """Return the places where a credential may be, for an error."""
    return f"{TOKEN}, {_token_files()[0]}, {USERNAME} with {KEY}, {_key_file()}"


def _find_older() -> str | None:
    """Find a user name and key, which came before tokens."""
    pair = (os.environ.get(USERNAME), os.environ.get(KEY))
    if all(pair):
        return f"{USERNAME} and {KEY}"
    path = _key_file()
    if _exists(path):
        _check_key_file(path)
        return str(path)
    if any(pair):
        there, absent = (USERNAME, KEY) if pair[0] else (KEY, USERNAME)
        raise FetchError(f"{there} is set, {absent} is not", where="Kaggle credential", fix=f"set both, or {MAKE_ONE}")
    return None


def _check_key_file(path: Path) -> None:
    try:
        content = json.loads(_read(path))
    except (ValueError, RecursionError):
        raise FetchError("not a JSON file", where=path, fix=MAKE_ONE) from None  # no word of it: it may hold a key
    missing = [key for key in ("username", "key") if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise FetchError(f"the Kaggle credential has no '{missing[0]}'", where=path, fix=MAKE_ONE)


def _token_files() -> list[Path]:
    folder = home_folder() / ".kaggle"
    return [folder / "access_token", folder / "access_token.txt"]


def _key_file() -> Path:
    return Path(os.environ.get(CONFIG) or home_folder() / ".kaggle", "kaggle.json")


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        # a token is not a path, and may be too long for one; a folder that can't be entered may hold a credential
        return isinstance(error, PermissionError)
    return True


def _read(path: Path) -> str:
    try:
        return read_limited(path, _LIMIT, FetchError).decode("utf-8").strip()
    except FetchError as error:
        fix = "let your user read the file"
        raise FetchError("can't read the Kaggle credential", where=path, found=error.found, fix=fix) from None
    except UnicodeDecodeError:
        raise FetchError("the Kaggle credential is not text", where=path, fix=MAKE_ONE) from None


def _check_plain(token: str, where: object) -> None:
    if not _PLAIN.fullmatch(token):
        found = "spaces, line breaks or characters that a token can't have" if token else "nothing"
        raise FetchError("the Kaggle credential can't be used", where=where, found=found, fix=MAKE_ONE)
