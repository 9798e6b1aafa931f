"""A YAML file that is read with the lines of everything in it, so that an error can name the place."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from datapack.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Place = tuple[str | int, ...]  # the keys and the list positions that lead to a value
_MERGE, _TEXT, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("merge", "str", "timestamp"))
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: .*)?$", re.MULTILINE)
_PLAIN = re.compile(r"[\w.@-]+")
_BYTE_ORDER_MARK = "\ufeff"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml's, where PyYAML has it
    """PyYAML's safe loader, but a date is the text that it is."""

    yaml_implicit_resolvers: ClassVar = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class Document:
    """The content of a YAML file and where it stands. Keys are kept as they are written: ``1.0:`` is ``"1.0"``."""

    path: Path
    text: str
    value: Any
    _node: yaml.Node | None

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file; raise `CatalogError`, naming the line, where it can't be read as YAML without doubt."""
        return cls.parse(path, _text(path))

    @classmethod
    def parse(cls, path: Path, text: str) -> Document:
        """Read what is the text of a file, or will be; it fails as `read` does."""
        if conflict := _CONFLICT.search(text):
            raise CatalogError(
                "a merge conflict is not resolved",
                where=f"{path}:{_line_at(text, conflict.start())}",
                found=conflict.group(),
                fix="keep what is right of both sides, and remove the three marker lines",
            )
        try:
            loader = _Loader(text.removeprefix(_BYTE_ORDER_MARK))
            node = loader.get_single_node()
            for part in _nodes(node):
                _check_tag(path, part, loader)
                if isinstance(part, yaml.MappingNode):
                    _check_keys(path, part)
            return cls(path, text, None if node is None else loader.construct_document(node), node)
        except yaml.YAMLError as error:
            raise _not_yaml(path, text, error) from error

    def get(self, place: Place) -> Any:
        """Return the value at a place that is in the file."""
        value = self.value
        for step in place:
            value = value[step]
        return value

    def line(self, place: Place) -> int:
        """Return the line, from 1, where a place begins, or the nearest place around it that is in the file."""
        line = 1
        for start, _ in self._way(place):
            line = int(start.start_mark.line) + 1
        return line

    def where(self, place: Place) -> str:
        """Name the file and the line of a place, as editors and terminals link it."""
        return f"{self.path}:{self.line(place)}"

    def changed(self, place: Place, new: str) -> Document:
        """Return this document with another text at a place in a mapping; every other byte of the file stays.

        Raises:
            CatalogError: the text does not stand there in one piece, or stands for other places too.
        """
        value = copy.deepcopy(self.value)
        parent, old = value, self.get(place)
        for step in place[:-1]:
            parent = parent[step]
        parent[place[-1]] = new
        *_, (_, node) = self._way(place)
        mark = len(self.text) - len(self.text.removeprefix(_BYTE_ORDER_MARK))
        start, end = mark + node.start_mark.index, mark + node.end_mark.index
        written = self.text[start:end]
        try:
            document = self.parse(self.path, self.text[:start] + written.replace(old, new) + self.text[end:])
        except CatalogError:
            document = self
        if document.value != value:
            raise CatalogError(
                f"{describe(place)}: only an editor can change this",
                where=self.where(place),
                found=written,
                fix=f"write {new}",
            )
        return document

    def _way(self, place: Place) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Give the nodes on the way to a place, as far as it is in the file: where each begins, and the node itself."""
        node = self._node
        for step in place:
            found = _descend(node, step)
            if found is None:
                return
            yield found
            node = found[1]


def describe(place: Place) -> str:
    """Write a place as people read it: ``datasets.reef.versions.v1.sources[0]``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}"
        else:
            text += f"[{step!r}]"
    return text.removeprefix(".")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogError("the file can't be read", where=path, found=error.strerror) from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogError("not UTF-8", where=f"{path}:{line}", fix="save the file as UTF-8") from error


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _not_yaml(path: Path, text: str, error: yaml.YAMLError) -> CatalogError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else _line_at(text, getattr(error, "position", 0))
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    written = [*text.splitlines(), ""][line - 1 : line]
    tab = any("\t" in line[: len(line) - len(line.lstrip())] for line in written)
    fix = "indent with spaces, not with tabs" if tab else None
    return CatalogError("not YAML", where=f"{path}:{line}", found=reason, fix=fix)


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Give every node once, in the order of the file, however many aliases lead to it."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def _check_tag(path: Path, node: yaml.Node, loader: _Loader) -> None:
    """Refuse a tag such as ``!!python/object``: a value is what it looks like."""
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    if node.tag not in {_TEXT, loader.resolve(type(node), node.value, (plain, not plain))}:
        raise CatalogError(
            "a tag is not allowed here",
            where=f"{path}:{node.start_mark.line + 1}",
            found=node.tag,
            fix="write the value without it",
        )


def _check_keys(path: Path, mapping: yaml.MappingNode) -> None:
    """Refuse a key that stands twice, which YAML forbids and PyYAML lets pass, and make every key the text it is."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise CatalogError("a key must be plain text", where=f"{path}:{line}", found="a list or a mapping")
        if key.value in lines:
            raise CatalogError(
                f"the key {key.value!r} stands twice in one place",
                where=f"{path}:{line}",
                found=f"the first on line {lines[key.value]}",
                fix="keep one of them",
            )
        lines[key.value] = line
        if key.tag != _MERGE:
            key.tag = _TEXT


def _descend(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node where a step begins, a key or a list's item, and the node that it leads to."""
    if isinstance(node, yaml.MappingNode):
        pairs = {key.value: (key, value) for key, value in node.value}  # of merged keys the last one counts
        return pairs.get(step)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
