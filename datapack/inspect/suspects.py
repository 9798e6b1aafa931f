"""Names of files and folders that are seldom meant to be in a dataset."""

from __future__ import annotations

from functools import lru_cache


class Suspects:
    """Names of one kind."""

    def __init__(self, what: str, *names: str) -> None:
        """Take names in lower case; a star stands for any beginning or any end."""
        every = " ".join(names).split()
        self.what = what
        self._names = frozenset(name for name in every if "*" not in name)
        self._starts = tuple(name[:-1] for name in every if name.endswith("*"))
        self._ends = tuple(name[1:] for name in every if name.startswith("*"))

    def fits(self, name: str) -> bool:
        return name in self._names or name.startswith(self._starts) or name.endswith(self._ends)


SECRETS = Suspects(
    "may hold secrets",
    ".env .env.* *.env .netrc _netrc .pgpass .my.cnf .htpasswd .git-credentials .gitconfig .npmrc .pypirc .boto",
    ".s3cfg .dockercfg .dockerconfigjson .vault-token .renviron .bash_history .zsh_history .python_history",
    ".psql_history .aws .azure .ssh .gnupg .kube .kaggle .docker .password-store id_rsa id_dsa id_ecdsa id_ed25519",
    "authorized_keys *.pem *.key *.p12 *.pfx *.jks *.keystore *.ppk *.kdbx *.keytab *.tfstate *.ovpn",
    "kaggle.json access_token credentials credentials.json token.json secrets.json secrets.yml secrets.yaml",
    "client_secret* service-account* service_account* rclone.conf",
)
LEFTOVERS = Suspects(
    "look like leftovers of other programs",
    ".ds_store ._* .appledouble .spotlight-v100 .trashes .fseventsd __macosx thumbs.db ehthumbs.db desktop.ini",
    "$recycle.bin lost+found .directory .nfs* *~ ~$* .~lock.* .#* *.bak *.orig *.rej *.swp *.swo *.tmp *.temp",
    "*.part *.crdownload *.pyc __pycache__ .ipynb_checkpoints .pytest_cache .mypy_cache .ruff_cache .rhistory",
    ".rdata .idea .vscode .svn .hg .bzr .trash-* .apdisk .localized .fuse_hidden* .picasa.ini picasa.ini",
    "@eadir #recycle #snapshot .thumbnails albumthumbs.db",
)


def suspect_of(path: str) -> tuple[Suspects, str] | None:
    """Return which kind of suspects a path belongs to, and the part of it that shows it; None if to none."""
    for part in path.split("/"):
        if kind := _kind(part):
            return kind, part
    return None


def is_leftover(path: str) -> bool:
    suspect = suspect_of(path)
    return suspect is not None and suspect[0] is LEFTOVERS


@lru_cache(maxsize=4096)  # folders have many files
def _kind(name: str) -> Suspects | None:
    return next((kind for kind in (SECRETS, LEFTOVERS) if kind.fits(name.lower())), None)
