"""Names of files: those that DVC can't keep, and those that are probably in a dataset by mistake."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from datapack.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.progress import Reporter

# DVC skips .git, .hg/ and .dvc, and every folder that holds a .dvc; it obeys .dvcignore, and reads dvc.yaml and *.dvc
# as its own. To it, other names, such as .gitignore, .gitattributes and dvc.lock, are files like any other.
_KEPT_BY_NO_DVC = re.compile(
    r"(?:\A|/)(?:(?P<part>\.git|\.dvc|\.dvcignore|\.hg(?=/))(?:/|\Z)|(?P<name>dvc\.yaml|[^/]*\.dvc)\Z)"
)
_DEEPEST = 100
_SHOWN = 60  # characters of a path that is too deep


class _Suspects:
    """Names of files and folders that are seldom meant to be in a dataset."""

    def __init__(self, what: str, *names: str) -> None:
        """Take names in lower case; a star stands for any beginning or any end."""
        every = " ".join(names).split()
        self.what = what
        self._names = frozenset(name for name in every if "*" not in name)
        self._starts = tuple(name[:-1] for name in every if name.endswith("*"))
        self._ends = tuple(name[1:] for name in every if name.startswith("*"))

    def fits(self, name: str) -> bool:
        return name in self._names or name.startswith(self._starts) or name.endswith(self._ends)


_KINDS = (
    _Suspects(
        "may hold secrets",
        ".env .env.* *.env .netrc _netrc .pgpass .my.cnf .htpasswd .git-credentials .gitconfig .npmrc .pypirc .boto",
        ".s3cfg .dockercfg .dockerconfigjson .vault-token .renviron .bash_history .zsh_history .python_history",
        ".psql_history .aws .azure .ssh .gnupg .kube .kaggle .docker .password-store id_rsa id_dsa id_ecdsa id_ed25519",
        "authorized_keys *.pem *.key *.p12 *.pfx *.jks *.keystore *.ppk *.kdbx *.keytab *.tfstate *.ovpn",
        "kaggle.json access_token credentials credentials.json token.json secrets.json secrets.yml secrets.yaml",
        "client_secret* service-account* service_account* rclone.conf",
    ),
    _Suspects(
        "look like leftovers of other programs",
        ".ds_store ._* .appledouble .spotlight-v100 .trashes .fseventsd __macosx thumbs.db ehthumbs.db desktop.ini",
        "$recycle.bin lost+found .directory .nfs* *~ ~$* .~lock.* .#* *.bak *.orig *.rej *.swp *.swo *.tmp *.temp",
        "*.part *.crdownload *.pyc __pycache__ .ipynb_checkpoints .pytest_cache .mypy_cache .ruff_cache .rhistory",
        ".rdata .idea .vscode .svn .hg .bzr",
    ),
)


def check_name(path: str, where: object) -> None:
    """Raise `FetchError` for a path in a payload that DVC would skip, obey or read as its own, or that is too deep."""
    if path.count("/") > _DEEPEST:
        deep = f"a file in more than {_DEEPEST} folders"
        raise FetchError(deep, where=where, found=f"{path[:_SHOWN]}...", fix="many programs can't follow it: pack it")
    if found := _KEPT_BY_NO_DVC.search(path):
        name = found["part"] or found["name"]
        raise FetchError(
            f"{path} can't be in a dataset",
            where=where,
            found=f"the name {name}, which DVC keeps for itself or ignores",
            fix=f"leave it out with 'exclude: [{name}]', or give it another name",
        )


def note_suspects(paths: Iterable[str], reporter: Reporter) -> None:
    """Note, in one line, how many files of a payload have names that are seldom meant to be in a dataset."""
    found: dict[str, list[str]] = {}
    for path in paths:
        what = next(filter(None, map(_suspicion, path.split("/"))), None)
        if what:
            found.setdefault(what, []).append(path)
    if found:
        parts = [
            f"{len(found[kind.what]):,} {kind.what}, such as {found[kind.what][0]}"
            for kind in _KINDS
            if kind.what in found
        ]
        reporter.note(f"check the payload: {'; '.join(parts)}; 'exclude:' in the catalog leaves files out")


@lru_cache(maxsize=4096)  # folders have many files
def _suspicion(name: str) -> str | None:
    return next((kind.what for kind in _KINDS if kind.fits(name.lower())), None)
