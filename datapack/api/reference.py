"""Write the reference of the public interface, ``docs/reference/python-api.md``: see `make reference`.

``python -m datapack.api.reference`` takes the example that it shows on standard input.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING

import datapack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_START = """\
# Python API
<!-- made by `make reference` from the docstrings of what datapack/__init__.py names as public -->

For notebooks and scripts: five functions do what the commands of the same names do. They print nothing, never end the
program, and raise [`DatapackError`](#class-datapackerror). Ctrl-C, or a notebook's stop button, stops them; the next
call continues. What is on this page is public. Everything else in `datapack` is private, and changes without notice.

`Place` is `str | os.PathLike[str]`, and `datapack.__version__` is the version, as text. Arguments after `*` are given
by name.
"""
_EXAMPLE = """\
## An example
This is `examples/notebook.py`. Each `# %%` begins a cell.

"""
_WIDEST = 100  # columns of a signature in one line
_SECTIONS = {"Args": "argument", "Attributes": "attribute", "Raises": "raises"}  # of a docstring: the table's heading


def reference(example: str) -> str:
    """Return the page in Markdown; ``example`` is the text of a program that it shows."""
    public = [getattr(sys.modules[value.__module__], name) for name, value in _public()]
    functions = [value for value in public if inspect.isfunction(value)]
    classes = [value for value in public if inspect.isclass(value)]
    parts = ["## Functions\n", *map(_function, functions), "## Results and errors\n", *map(_class, classes)]
    return "\n".join([_START, *parts, f"{_EXAMPLE}```python\n{example.strip()}\n```\n"])


def _public() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the name of each public function and class, and its definition."""
    for name in datapack.__all__:
        value = getattr(datapack, name)
        if callable(value):
            yield name, inspect.unwrap(value)  # a package that can be called wraps the function of its name


def _function(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    types = {name: str(parameter.annotation) for name, parameter in signature.parameters.items()}
    arguments = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        arguments.append(f"{parameter.name}: {parameter.annotation}{default}")
    line = f"datapack.{function.__name__}({', '.join(arguments)}) -> {signature.return_annotation}"
    if len(line) > _WIDEST:
        body = "".join(f"    {argument},\n" for argument in arguments)
        line = f"datapack.{function.__name__}(\n{body}) -> {signature.return_annotation}"
    returns = str(signature.return_annotation)
    result = f"\nReturns [`{returns}`](#class-{returns.lower()}).\n"
    return f"### `datapack.{function.__name__}`\n```python\n{line}\n```\n\n{_text(function, types)}{result}"


def _class(kind: type) -> str:
    types: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        types |= {name: _type(value) for name, value in inspect.get_annotations(parent).items()}
    bases = [base.__name__ for base in kind.__bases__ if base.__name__ in datapack.__all__]
    also = "".join(f"\nIt also has the attributes of [`{base}`](#class-{base.lower()}).\n" for base in bases)
    return f"### class `{kind.__name__}`\n{_text(kind, types)}{also}"


def _type(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _text(value: object, types: dict[str, str]) -> str:
    """Return a docstring in Markdown: what it says, then a table for each of its sections."""
    summary, *sections = re.split(rf"^({'|'.join(_SECTIONS)}):\n", inspect.getdoc(value) or "", flags=re.MULTILINE)
    parts = [_markdown(summary).strip() + "\n"]
    parts += [_table(title, body, types) for title, body in zip(sections[::2], sections[1::2], strict=True)]
    return "\n".join(parts)


def _table(title: str, body: str, types: dict[str, str]) -> str:
    typed = title != "Raises"
    lines = [f"| {_SECTIONS[title]} | {'type | ' if typed else ''}meaning |", f"|---|{'---|' if typed else ''}---|"]
    for item in re.split(r"^ {4}(?=\w)", body, flags=re.MULTILINE)[1:]:
        names, _, meaning = item.partition(": ")
        cells = [", ".join(f"`{name}`" for name in names.split(", "))]
        if typed:
            of = dict.fromkeys(types[name] for name in names.split(", "))
            cells.append(", ".join(f"`{one}`" for one in of).replace(" | ", "` or `"))
        cells.append(" ".join(_markdown(meaning).split()))
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(reference(sys.stdin.read()))
