"""Images: the base, the registry that images are pushed to, and who can read there."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from datapack.catalog.licences import may_be_public
from datapack.doctor.result import Result, note, ok, problem
from datapack.errors import ImageError
from datapack.image.base import current_digest, find_cached
from datapack.oci.layout import Layout
from datapack.registry import ImageName, RegistryClient, Repository
from datapack.registry.answer import RefusedError, UnreachableError
from datapack.registry.login import find_login
from datapack.registry.referrers import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.doctor.place import Place

_OFFLINE = "check the network; only a push, or a pull, needs the registry"
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def base(place: Place) -> Iterator[Result]:
    """Check that the catalog's base can be had, and whether its tag still stands for the pinned image."""
    if not place.catalog or not place.workspace:
        return
    text = place.catalog.defaults.base
    if text.startswith("oci:"):
        Layout.at(place.root, text.removeprefix("oci:")).image()
        yield ok("base", f"{text}, on this disk")
        return
    name, _, pinned = text.partition("@")
    is_cached = find_cached(Layout(place.workspace.bases), pinned, text) is not None
    try:
        now = current_digest(name if ":" in name.rpartition("/")[2] else text)
    except ImageError as error:
        found = f"{name}: {error.what}" + (f" ({error.found})" if error.found else "")
        if is_cached:
            yield note("base", f"{found}; it is cached here, so builds work", error.fix or _OFFLINE)
        else:
            yield problem("base", f"{found}, and it is not cached here, so no build works", error.fix or _OFFLINE)
        return
    where = "cached here" if is_cached else "to be fetched by the first build"
    if now == pinned:
        yield ok("base", f"{name}, {where}; its tag still has the pinned digest")
    else:
        fix = "to use the newer image, run 'datapack base' and build with --update-lock"
        yield note("base", f"{name}, {where}; its tag has another image now, {now}", fix)


def registry(place: Place) -> Iterator[Result]:
    """Check that the registry answers, and takes the credential that is here."""
    names = list(_repositories(place))
    if not names:
        return
    name = names[0][0]
    login = find_login(name)
    log_in = f"'docker login {name.registry}' or 'podman login {name.registry}'"
    client = RegistryClient(name)
    try:
        answer = client.request("GET", "tags/list", params={"n": "1"})
    except UnreachableError as error:
        yield note("registry", f"{name.registry}: {error.what} ({error.found})", error.fix or _OFFLINE)
        return
    if login is None and (answer.status in _REFUSED or not name.is_loopback):
        yield note("registry", f"no login for {name.registry} is stored: a push needs one", f"run {log_in}")
    elif answer.status == HTTPStatus.UNAUTHORIZED:
        raise client.refusal(answer, "the stored login")
    elif answer.ok or answer.status == HTTPStatus.NOT_FOUND:
        way = "takes the stored login" if login else "needs no login"
        yield ok("registry", f"{name.registry} answers and {way}")
    else:
        refusal = client.refusal(answer, f"to show {name.path}")
        fix = "it may not be there before the first push; otherwise check that the namespace is yours"
        yield note("registry", f"{refusal.what}: {refusal.found}", fix)


def privacy(place: Place) -> Iterator[Result]:
    """Check that nobody can read, without a login, the repositories of datasets that not everybody may have."""
    for name, image in _repositories(place, private=True):
        repository = Repository(RegistryClient(name, anonymous=True))
        try:
            is_public = repository.lets_read(image or EMPTY.digest)
        except UnreachableError:
            return  # the check of the registry says so
        except RefusedError as error:
            yield note("privacy", f"{name.path} does not say who can read it: {error.found}", error.fix or "")
            continue
        if is_public:
            fix = "make it private at the registry before the next push"
            yield problem("privacy", f"everybody can read {name.path}, and not everybody may have the dataset", fix)
        else:
            yield ok("privacy", f"nobody can read {name.path} without a login")


def _repositories(place: Place, *, private: bool = False) -> Iterator[tuple[ImageName, str]]:
    """Yield where each dataset is pushed to, and the configuration of an image that may be there."""
    if not place.catalog or place.catalog.defaults.registry is None:
        return
    for name, dataset in place.catalog.datasets.items():
        if not private or not may_be_public(dataset):
            locked = place.lock.entries.items() if place.lock else ()
            images = [entry.image.id for reference, entry in locked if reference.name == name and entry.image]
            yield ImageName.parse(f"{place.catalog.defaults.registry}/{name}"), images[-1] if images else ""
