"""YAML files read with line numbers, so that an error can name the line.

What people misread is refused or stays text: duplicate keys, aliases and tags are errors; ``off``, ``no``, ``1:30`` and
``010`` are strings, as in YAML 1.2, and so are dates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from datapack.errors import CatalogError
from datapack.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.errors import DatapackError


Place = tuple[str | int, ...]  # the keys and list indexes that lead to a value
_TAG = "tag:yaml.org,2002:"
_TEXT = f"{_TAG}str"
# Each type that a plain scalar can have: the letters that it begins with, and its form. YAML 1.1, which PyYAML reads
# and writes, has more forms. There must be none here that it lacks: it writes a string without quotes if it knows none.
_FORMS = {
    "null": (["~", "n", "N", ""], r"(?:~|null|Null|NULL|)\Z"),
    "bool": (list("tTfF"), r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": (list("-+0123456789"), r"[-+]?(?:0|[1-9][0-9_]*)\Z"),
    "float": (list("-+0123456789."), r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.inf|\.nan)\Z"),
}
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: .*)?$", re.MULTILINE)
_PLAIN = re.compile(r"[\w.@-]+")
_BYTE_ORDER_MARK = "\ufeff"
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # made by escapes
_LIMIT = 16 << 20  # bytes
_QUOTES, _INDENT = "put the value in quotes", "check the indentation, and quotes and brackets"
# Words of PyYAML's and libyaml's errors, and what they mean: what was found, and what to do.
_REASONS = (
    ("mapping values", "': ' in a value or below one", f"{_QUOTES}, or {_INDENT}"),
    ("could not find expected ':'", "a line without ':'", "write KEY: VALUE"),
    ("sequence entries", "'-' after a key in the same line", "begin the list on the next line"),
    ("alias", "an alias, '*'", f"write the value itself, or {_QUOTES}"),
    ("anchor", "an anchor, '&'", f"remove it, or {_QUOTES}"),
    ("cannot start any token", "a character that no value begins with", _QUOTES),
    ("scanning a quoted scalar", "a quote that does not end", "add the missing quote"),
    ("escape", "an unknown escape after a backslash", "use single quotes, where a backslash is itself"),
    ("document", "a second document", "remove the line '---' or '...'"),
    ("nesting", "lists or mappings nested too deeply", None),
    ("flow", "a bracket that does not end", "close it with ']' or '}'"),
    (
        "block mapping",
        "a line that is not a key of the mapping above",
        "check the indentation, and quotes and brackets",
    ),
    (
        "block collection",
        "a line that is not an item of the list above",
        "check the indentation, and quotes and brackets",
    ),
    (
        "block sequence",
        "a line that is not an item of the list above",
        "check the indentation, and quotes and brackets",
    ),
    ("node", "a bracket or a comma in the place of a value", _QUOTES),
    ("directive", "a line that begins with '%'", "remove it"),
    ("not allowed", "a control character", "remove it"),
    ("digits", "a number with too many digits", _QUOTES),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml's loader, if PyYAML has it
    """PyYAML's safe loader, with `_FORMS` for values without quotes."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _type, (_letters, _form) in _FORMS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_type}", re.compile(_form), _letters)


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file, with line numbers. Keys stay strings: ``1.0:`` is ``"1.0"``."""

    path: Path
    text: str
    value: Any
    error: type[DatapackError]  # what a problem in this file raises
    _node: yaml.Node | None

    @classmethod
    def read(cls, path: Path, error: type[DatapackError] = CatalogError) -> YamlFile:
        """Read a file; raise ``error``, naming the line, if it is not valid, unambiguous YAML."""
        return cls.parse(path, _read_text(path, error), error)

    @classmethod
    def parse(cls, path: Path, text: str, error: type[DatapackError] = CatalogError) -> YamlFile:
        """Parse the text of a file that may not be written yet; fail as `read` does."""
        if conflict := _CONFLICT.search(text):
            raise error(
                "unresolved merge conflict",
                where=f"{path}:{_line_at(text, conflict.start())}",
                found=conflict.group(),
                fix="resolve it and remove the three marker lines",
            )
        try:
            loader = _Loader(text.removeprefix(_BYTE_ORDER_MARK))
            node = loader.get_single_node()
            for place, part in _nodes(path, node, error):
                _check_tag(path, part, loader, error)
                _check_characters(path, part, error)
                if isinstance(part, yaml.MappingNode):
                    _check_keys(path, place, part, error)
            return cls(path, text, None if node is None else loader.construct_document(node), error, node)
        except (yaml.YAMLError, RecursionError, ValueError) as cause:
            raise _not_yaml(path, text, cause, error) from cause

    def get(self, place: Place) -> Any:
        """Return the value at a place; the place must exist."""
        value = self.value
        for step in place:
            value = value[step]
        return value

    def line(self, place: Place) -> int:
        """Return the line, from 1, where a place begins, or its nearest enclosing place if it does not exist."""
        line = 1
        for start, _ in self._path_to(place):
            line = int(start.start_mark.line) + 1
        return line

    def where(self, place: Place) -> str:
        """Return ``FILE:LINE`` of a place, which editors and terminals link."""
        return f"{self.path}:{self.line(place)}"

    def with_value(self, place: Place, new: str) -> YamlFile:
        """Return this file with another text at a place in a mapping; every other byte stays the same.

        Raises:
            DatapackError: the text is split up in the file; of class ``error``.
        """
        *_, (_, node) = self._path_to(place)
        mark = len(self.text) - len(self.text.removeprefix(_BYTE_ORDER_MARK))
        start, end = mark + node.start_mark.index, mark + node.end_mark.index
        written = self.text[start:end]
        try:
            text = self.text[:start] + written.replace(self.get(place), new) + self.text[end:]
            changed = self.parse(self.path, text, self.error)
        except self.error:
            changed = self
        if changed.value != _replaced(self.value, place, new):
            raise self.error(
                f"{describe(place)}: can't be changed automatically",
                where=self.where(place),
                found=written,
                fix=f"change it to {new} in an editor",
            )
        return changed

    def _path_to(self, place: Place) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield, for each step of a place that exists, the node where the step begins and the node of its value."""
        node = self._node
        for step in place:
            found = _descend(node, step)
            if found is None:
                return
            yield found
            node = found[1]


def describe(place: Place) -> str:
    """Format a place for an error: ``datasets.reef.versions.v1.sources[0]``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}"
        else:
            text += f"[{step!r}]"
    return text.removeprefix(".")


def _replaced(value: Any, place: Place, new: str) -> Any:
    """Return a value with another text at a place; only what is on the path is copied."""
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _replaced(value[place[0]], place[1:], new)
    return copy


def _read_text(path: Path, error: type[DatapackError]) -> str:
    content = read_limited(path, _LIMIT, error)
    try:
        return content.decode()
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise error("not UTF-8", where=f"{path}:{line}", fix="save the file as UTF-8") from cause


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _not_yaml(path: Path, text: str, cause: Exception, error: type[DatapackError]) -> DatapackError:
    """Return the error for what no YAML parser reads, in plain words."""
    mark = getattr(cause, "problem_mark", None) or getattr(cause, "context_mark", None)
    line = mark.line + 1 if mark else _line_at(text, getattr(cause, "position", 0))
    written = [*text.splitlines(), ""][line - 1 : line]
    found: str | None = "a tab at the beginning of the line"
    fix: str | None = "indent with spaces"
    if not any("\t" in line[: len(line) - len(line.lstrip())] for line in written):
        found, fix = _reason(cause)
    return error("not valid YAML", where=f"{path}:{line}", found=found, fix=fix)


def _reason(cause: Exception) -> tuple[str | None, str | None]:
    """Return what was found and what to do, in plain words."""
    words = "nesting" if isinstance(cause, RecursionError) else str(cause).lower()
    return next(((found, fix) for word, found, fix in _REASONS if word in words), (None, "check the line in an editor"))


def _nodes(path: Path, root: yaml.Node | None, error: type[DatapackError]) -> Iterator[tuple[Place, yaml.Node]]:
    """Yield every node in the order of the file; refuse an alias, which leads to a node a second time."""
    pending: list[tuple[Place, yaml.Node | None, int]] = [((), root, 1)]  # and the line of its key
    seen = set()
    while pending:
        place, node, line = pending.pop()
        if node is None:
            continue
        if id(node) in seen:
            found = f"'*' at {describe(place)}"
            raise error("aliases are not allowed", where=f"{path}:{line}", found=found, fix="write the value itself")
        seen.add(id(node))
        yield place, node
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                inside, at = (*place, str(key.value)), int(key.start_mark.line) + 1
                pending += [(inside, value, at), (inside, key, at)]
        elif isinstance(node, yaml.SequenceNode):
            pending += reversed([((*place, index), item, line) for index, item in enumerate(node.value)])


def _check_tag(path: Path, node: yaml.Node, loader: _Loader, error: type[DatapackError]) -> None:
    """Refuse a tag that changes a value's type, such as ``!!python/object``."""
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    if node.tag not in {_TEXT, loader.resolve(type(node), node.value, (plain, not plain))}:
        raise error(
            "tags are not allowed",
            where=f"{path}:{node.start_mark.line + 1}",
            found=node.tag,
            fix="remove the tag",
        )


def _check_characters(path: Path, node: yaml.Node, error: type[DatapackError]) -> None:
    """Refuse control characters: no path, URL, name or title can have one."""
    if isinstance(node, yaml.ScalarNode) and (control := _CONTROL.search(node.value)):
        where = f"{path}:{node.start_mark.line + 1}"
        raise error("control characters are not allowed", where=where, found=repr(control[0]), fix="remove it")


def _check_keys(path: Path, place: Place, mapping: yaml.MappingNode, error: type[DatapackError]) -> None:
    """Refuse duplicate keys, which YAML forbids but PyYAML accepts, and make every key a string."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise error("a key must be plain text", where=f"{path}:{line}", found="a list or a mapping")
        if key.value in lines:
            raise error(
                f"duplicate key {describe((*place, key.value))}",
                where=f"{path}:{line}",
                found=f"the first one on line {lines[key.value]}",
                fix="keep only one",
            )
        lines[key.value] = line
        key.tag = _TEXT


def _descend(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node where a step begins (a key or a list item) and the node that it leads to."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
