"""What a pickle holds, as values that can do nothing: stand-ins record what would be imported and called.

A list, a tuple and plain values are themselves. Nothing here is hashed or compared, except text: pickles can hold
tuples that nest a million times, or whose hash takes years.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_DEEPEST = 3  # levels that a brief text shows
_FEW = 4  # values of a list that it shows
_LONGEST_TEXT = 200  # characters of a text that it shows
_LONGEST = 500  # characters of it
_MOST_CALLS = 100  # different ones that are kept


@dataclass(slots=True, eq=False)
class Name:
    """A stand-in for what would be imported: a class, a function or anything else in a module."""

    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{_MODULES.get(self.module, self.module)}.{self.name}"


_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core.multiarray": "numpy._core.multiarray"}


@dataclass(slots=True, eq=False)
class Entries:
    """A dictionary."""

    named: dict[str, object] = field(default_factory=dict)  # keys that are text
    other: list[tuple[object, object]] = field(default_factory=list)  # every other key, even if it comes twice

    def put(self, key: object, value: object) -> None:
        if isinstance(key, str):
            self.named[key] = value
        else:
            self.other.append((key, value))


@dataclass(slots=True, eq=False)
class Made:
    """A stand-in for what a call would return, or for an object of a class."""

    what: object  # a `Name`, or whatever stands for the function
    args: tuple[object, ...]
    state: object = None
    items: list[object] = field(default_factory=list)
    entries: Entries = field(default_factory=Entries)


class Record:
    """What loading a pickle would call, make and import; each once, in the order of the file."""

    def __init__(self) -> None:
        self._functions: dict[str, None] = {}
        self._classes: dict[str, None] = {}
        self._imports: dict[str, None] = {}
        self._more = 0

    def call(self, text: str) -> None:
        self._keep(self._functions, text)

    def make(self, what: Name) -> None:
        """Record that an object of a class would be made, by its ``__new__`` and ``__setstate__``."""
        self._keep(self._classes, what.full[:_LONGEST])

    def bring(self, what: Name) -> None:
        """Record that something would be imported."""
        self._keep(self._imports, what.full[:_LONGEST])

    def _keep(self, known: dict[str, None], text: str) -> None:
        if text not in known and len(known) >= _MOST_CALLS:
            self._more += 1
        else:
            known[text] = None

    @property
    def functions(self) -> tuple[str, ...]:
        return tuple(self._functions)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @property
    def calls(self) -> tuple[str, ...]:
        """Every call and every object; imports of what is neither called nor made; and how many more there are."""
        said = [*self._functions, *self._classes]
        made = (f"{name}(...)" for name in self._classes)
        imports = (f"import {name}" for name in self._imports if not any(name in text for text in said))
        more = (f"and {self._more:,} more",) if self._more else ()
        return (*self._functions, *made, *imports, *more)


def brief(value: object) -> str:
    """Write a value as Python would, in at most a line: long texts, long lists and deep levels are cut."""
    text = _brief(value, _DEEPEST)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def brief_call(what: object, args: tuple[object, ...]) -> str:
    """Write a call as Python would: ``os.system('ls')``."""
    return brief(Made(what, args))


def _brief(value: object, levels: int) -> str:
    match value:
        case Name():
            return value.full[:_LONGEST_TEXT]
        case str() | bytes():
            return repr(value) if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]!r}..."
        case int() if value.bit_length() > 64:  # noqa: PLR2004 - as text, huge numbers take long
            return f"a number of {value.bit_length():,} bits"
        case None | bool() | int() | float():
            return repr(value)
    return _brief_container(value, levels) if levels else "..."


def _brief_container(value: object, levels: int) -> str:
    match value:
        case Made():
            return f"{_brief(value.what, levels - 1)}({_row(value.args, levels)})"
        case list():
            return f"[{_row(value, levels)}]"
        case tuple():
            return f"({_row(value, levels)}{',' if len(value) == 1 else ''})"
        case Entries():
            return "{...}" if value.named or value.other else "{}"
    return type(value).__name__.lower()


def _row(values: list[object] | tuple[object, ...], levels: int) -> str:
    shown = [_brief(value, levels - 1) for value in values[:_FEW]]
    return ", ".join([*shown, *["..."] * (len(values) > _FEW)])
