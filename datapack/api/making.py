"""The functions that make something: a bag from sources, an image from a bag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.api.call import interruptible, reference_of, reporter_of, workspace_of
from datapack.api.results import Built, Fetched
from datapack.build.build import Options
from datapack.build.build import build as build_image
from datapack.fetch.job import FetchOptions
from datapack.fetch.version import fetch as fetch_bag

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.api.call import Place
    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter
    from datapack.reference import Reference


@interruptible
def fetch(
    reference: str,
    *,
    refresh: bool = False,
    update_lock: bool = False,
    push_data: bool = False,
    strict: bool = False,
    catalog: Place | None = None,
    progress: bool | Reporter = False,
) -> Fetched:
    """Fetch a version as a bag and track it with DVC, as ``datapack fetch`` does.

    What is here already is not fetched again. After an error, a kill or Ctrl-C, the same call continues.

    Args:
        reference: the version, ``name@version``.
        refresh: fetch from the sources again, even if the bag is here.
        update_lock: accept a result that differs from ``datasets.lock``.
        push_data: also push the bag to DVC's default remote.
        strict: fail if the checks find errors or warnings that the catalog does not silence.
        catalog: the folder of the catalog, one below it, or its ``datasets.yml``. By default it is looked for in the
            current folder and those above.
        progress: show notes and progress on standard error; or an object that receives them.

    Raises:
        DatapackError: nothing incomplete has a final name. `CatalogError` if the catalog is wrong, `FetchError` if a
            source did not provide a file, `MismatchError` if the data is not what ``datasets.lock`` says: these are
            in ``datapack.errors``.
    """
    options = FetchOptions(refresh, update_lock, push_data, strict)
    name = reference_of(reference)
    bag = fetch_bag(workspace_of(catalog), name, options, reporter_of(progress))
    return Fetched(*_facts(name, bag))


@interruptible
def build(
    reference: str,
    target: str | None = None,
    *,
    base: str | None = None,
    runnable: str | None = None,
    refresh: bool = False,
    update_lock: bool = False,
    verify: bool = False,
    push_data: bool = False,
    strict: bool = False,
    streams: int = 4,
    insecure: bool = False,
    replace: bool = False,
    allow_public: bool = False,
    catalog: Place | None = None,
    progress: bool | Reporter = False,
) -> Built:
    """Fetch a version and build its import container, as ``datapack build`` does.

    Args:
        reference: the version, ``name@version``.
        target: ``oci:DIR`` (default: ``dist/<name>-<version>``), ``oci-archive:FILE``, ``docker-daemon:[NAME:TAG]`` or
            ``docker://[REGISTRY/NAME:TAG]``. Relative paths start at the catalog's folder.
        base: a base instead of the catalog's, ``NAME:TAG@sha256:...`` or ``oci:DIR``.
        runnable: of a model: the trainer image of a ready-to-run image, in the same forms.
        refresh: fetch from the sources again, even if the bag is here.
        update_lock: accept a result that differs from ``datasets.lock``.
        verify: read every file again, even unchanged ones, and what an ``oci:`` target has already.
        push_data: also push the bag to DVC's default remote.
        strict: fail if the checks find errors or warnings that the catalog does not silence.
        streams: how many uploads at once, at least 1.
        insecure: accept a registry with plain http or an untrusted certificate.
        replace: replace a different image that has the same name and tag.
        allow_public: push a private dataset even where everybody can read it.
        catalog: the folder of the catalog, one below it, or its ``datasets.yml``. By default it is looked for in the
            current folder and those above.
        progress: show notes and progress on standard error; or an object that receives them.

    Raises:
        DatapackError: nothing incomplete has a final name, and the same call continues where this one stopped.
            `ImageError` if the base or the target can't be used, and all errors of `fetch`.
    """
    options = Options(
        refresh=refresh,
        update_lock=update_lock,
        push_data=push_data,
        strict=strict,
        target=target,
        base=base,
        runnable=runnable,
        verify=verify,
        streams=streams,
        insecure=insecure,
        replace=replace,
        allow_public=allow_public,
    )
    name = reference_of(reference)
    made = build_image(workspace_of(catalog), name, options, reporter_of(progress))
    return Built(*_facts(name, made.bag), made.image.digest, made.target, made.provenance, made.image.runnable)


def _facts(name: Reference, bag: Bag) -> tuple[str, str, int, int, Path]:
    return str(name), bag.manifest.digest, bag.files, bag.bytes, bag.path
