"""Writing ``model.json`` into the payload of a version of `kind: model`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack.bag.model_facts import MODEL
from datapack.catalog.model_section import ModelSection
from datapack.errors import FetchError
from datapack.fetch.models.conversion import RECORD, convert_weights
from datapack.fetch.models.facts import merge, read_categories
from datapack.fetch.models.weights import SCAN, find_weights, scan_pickles
from datapack.fetch.payload import WantedFile

if TYPE_CHECKING:
    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.model import Entry
    from datapack.fetch.payload import Payload

_FACTS = WantedFile(MODEL, "datapack, which writes the facts of the model there")
_CONVERSION = WantedFile(RECORD, "datapack, which writes there what it converted")
_RESULT = WantedFile(SCAN, "datapack, which writes there what the pickle would run")


@dataclass(frozen=True)
class ModelFiles:
    """The files that datapack itself adds to a model."""

    section: ModelSection
    licence: str
    where: str  # the version, for errors

    @classmethod
    def of(cls, entry: Entry) -> ModelFiles | None:
        """Return them for a version; None if it is not a model."""
        if not entry.is_model:
            return None
        section = entry.version.model or ModelSection.model_validate({})
        return cls(section, entry.dataset.licence, str(entry.reference))

    def claim(self, payload: Payload) -> None:
        """Claim the paths before any source does: a source's own file of such a name is never replaced."""
        scan, conversion = bool(self.section.allow_pickle), bool(self.section.convert)
        payload.claim([_FACTS, *[_RESULT] * scan, *[_CONVERSION] * conversion])

    def write(self, payload: Payload, recorded: ModelFacts | None) -> None:
        """Write them, once all sources are fetched.

        Args:
            payload: has the files of all sources.
            recorded: what a run recorded about the model.

        Raises:
            FetchError: the catalog contradicts the run, names a file that is not there, or the weights are not clear;
                or a pickle would run code, which the catalog does not allow.
        """
        section = self.section
        named = section.weights or (recorded.weights if recorded else None)
        weights = find_weights(payload, named, self.where)
        if section.convert:
            key = section.convert if isinstance(section.convert, str) else ""
            weights, record = convert_weights(payload, weights, key, self.where)
            payload.put(_CONVERSION, record)
        scan = scan_pickles(payload, section.allow_pickle, self.where)
        if scan is not None:
            payload.put(_RESULT, scan)
        self._check_card(payload)
        facts = merge(section.facts(weights, self._categories(payload)), recorded, self.where)
        payload.put(_FACTS, replace(facts, licence=self.licence).to_json())

    def _check_card(self, payload: Payload) -> None:
        if self.section.card and not payload.has(self.section.card):
            where = f"{self.where}: card: {self.section.card}"
            fix = f"add it to the sources: '- local: {self.section.card}'"
            raise FetchError("no such file in the payload", where=where, fix=fix)

    def _categories(self, payload: Payload) -> tuple[tuple[int, str], ...]:
        named = self.section.categories
        if not isinstance(named, str):
            return self.section.listed_categories
        where = f"{self.where}: categories: {named}"
        if not payload.has(named):
            fix = f"add it to the sources: '- local: {named}', or list the names themselves"
            raise FetchError("no such file in the payload", where=where, fix=fix)
        return read_categories(payload.folder / named, where)
