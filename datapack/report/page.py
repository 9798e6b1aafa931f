"""The page as text, made from values alone: the same values give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack import __version__
from datapack.page import render
from datapack.report import coco_boxes, coco_images, files, findings, tables
from datapack.report.coco_lists import Lists
from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from datapack.inspect.findings import Finding
    from datapack.inspect.model import Survey
    from datapack.page.cells import Listing
    from datapack.report.facts import Fact, Since
    from datapack.report.image import ImageFacts
    from datapack.report.model import ModelPage
    from datapack.report.samples import Shown

_TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Head:
    """What the page says of a version beside its content."""

    title: str
    reference: str
    digest: str
    private: bool
    about: Sequence[Fact]
    warning: str  # such as that the lock has another digest
    sources: Listing
    hosts: Listing
    since: Since | None
    image: ImageFacts | None
    missing: Listing
    missing_reasons: str
    model: ModelPage | None = None  # of a version that is a model
    structured: Markup | str = ""  # schema.org's description, for search engines; no browser runs it


def make_page(head: Head, survey: Survey, results: Sequence[Finding], shown: Shown, *, deep: bool) -> str:
    """Return the page.

    Args:
        head: the facts of the version.
        survey: what the bag contains.
        results: the findings of the checks.
        shown: the images of the data in the page.
        deep: whether the checks decoded the images.
    """
    lists = Lists.of(survey)
    return render(
        _TEMPLATE,
        sortable=True,
        version=__version__,
        head=head,
        headline=_headline(head.model, survey, lists, len(findings.by_severity(results))),
        model=head.model,
        findings=findings.by_severity(results),
        silenced=findings.silenced(results),
        findings_table=findings.overview(results),
        findings_summary=findings.summary(results),
        has_images=bool(survey.images),
        deep=deep,
        shown=shown,
        missing=len(survey.missing),
        coco=_coco_values(lists) if survey.cocos and head.model is None else None,
        image_plots=coco_images.image_plots(survey, lists) if head.model is None else [],
        files=_file_values(survey),
        tables=tables.summarise(survey.tables),
        counted=counted,
        size=size,
    )


def _headline(model: ModelPage | None, survey: Survey, lists: Lists, found: int) -> list[tuple[str, str]]:
    """Return the numbers that describe the data best."""
    numbers = list(model.headline) if model else []
    if model is None and (survey.cocos or survey.images):
        numbers.append(("Images", f"{len(survey.images) or lists.images:,}"))
    if model is None and survey.cocos:
        numbers += [("Boxes", f"{lists.box_count:,}"), ("Categories", f"{len(lists.category_names):,}")]
    if survey.tables:
        numbers.append(("Tables", f"{len(survey.tables):,}"))
    numbers.append(("Files", f"{len(survey.files):,}"))
    return [*numbers, ("Size", size(sum(file.size for file in survey.files.values()))), ("Findings", f"{found:,}")]


def _coco_values(lists: Lists) -> dict[str, Any]:
    return {
        "summary": _coco_summary(lists),
        "listing": lists.listing(),
        "plots": coco_boxes.box_plots(lists),
        "categories": coco_boxes.category_table(lists),
    }


def _coco_summary(lists: Lists) -> str:
    images = f"{counted(lists.images, 'image')} in {counted(len(lists.cocos), 'COCO file')}"
    boxes = (
        f"{counted(lists.box_count, 'box', 'boxes')} of {counted(len(lists.category_names), 'category', 'categories')}"
    )
    text = f"{images}, with {boxes}."
    if empty := sum(int((lists.per_image(coco) == 0).sum()) for coco in lists.labelled):
        text += f" {counted(empty, 'image')} in files with boxes {'has' if empty == 1 else 'have'} none."
    if unlabelled := [coco for coco in lists.cocos if not coco.has_boxes and not coco.problem]:
        has = "has" if len(unlabelled) == 1 else "have"
        text += f" {counted(len(unlabelled), 'file')} {has} no list of boxes, so nothing to train a detector on."
    if lists.repeated:
        text += f" {counted(lists.repeated, 'image')} in several files: their boxes count more than once."
    return text


def _file_values(survey: Survey) -> dict[str, Any]:
    every = list(survey.files.values())
    return {
        "types": files.types(every),
        "largest": files.largest(every),
        "duplicates": files.duplicates(every),
        "tree": files.tree(every),
    }
