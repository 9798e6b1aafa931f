"""The tensors in what a pickle holds, and their names: a state dictionary, whatever is around it.

Names of keys are joined by dots. An object of a module of PyTorch, which is not made here, gives what its
``state_dict`` would: its parameters, its buffers, and those of its modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datapack.weights.inert import Entries, Made, brief
from datapack.weights.model import LONGEST_NAME, MOST_TENSORS
from datapack.weights.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    Named = tuple[str, object]

_MOST_VALUES = 300_000  # the most values that are visited: a hostile pickle can hold one value in 2^50 places
_MOST_LEFT_OUT = 1000  # places that are named
_PARAMETERS, _BUFFERS, _MODULES = "_parameters", "_buffers", "_modules"


class State(NamedTuple):
    """The tensors of a pickle by name, in its order, and the places of what is not a tensor."""

    tensors: dict[str, Tensor]
    left_out: tuple[str, ...]


def find_tensors(value: object) -> State:
    """Find every tensor.

    Raises:
        ValueError: there are too many, two have the same name, or a container contains itself.
    """
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, None] = {}
    waiting = [("", value)]
    looked = 0
    while waiting:
        name, current = waiting.pop()
        looked += 1
        if looked > _MOST_VALUES or len(name) > LONGEST_NAME or len(tensors) > MOST_TENSORS:
            raise ValueError("its values are too many or nested too deeply, or a list contains itself")
        if isinstance(current, Tensor):
            if name in tensors:
                raise ValueError(f"two of its tensors get the name {name}")
            tensors[name] = current
            continue
        inside = _inside(current)
        if inside is None:
            if current is not None and len(left_out) < _MOST_LEFT_OUT:
                left_out[name or "(the whole)"] = None
        else:
            waiting += [(f"{name}.{key}" if name else key, one) for key, one in reversed(list(inside))]
    return State(tensors, tuple(left_out))


def _inside(value: object) -> Iterator[Named] | None:
    """Return what is in a container, by name; None if it is none, or a list of nothing but plain values."""
    match value:
        case Entries():
            return _entries(value)
        case Made():
            return _object(value)
        case list() | tuple():
            return _row(value) if any(isinstance(one, _CONTAINERS) for one in value) else None
    return None


_CONTAINERS = (Tensor, Entries, Made, list, tuple)


def _row(values: list[object] | tuple[object, ...]) -> Iterator[Named]:
    return ((str(at), one) for at, one in enumerate(values) if isinstance(one, _CONTAINERS))


def _entries(entries: Entries) -> Iterator[Named]:
    yield from entries.named.items()
    for key, value in entries.other:
        yield brief(key), value


def _object(made: Made) -> Iterator[Named] | None:
    """Return what is in an object: the state dictionary of a module, the attributes and entries of any other."""
    state = made.state[0] if isinstance(made.state, tuple) and made.state else made.state
    attributes = state if isinstance(state, Entries) else Entries()
    if attributes.named.keys() >= {_PARAMETERS, _MODULES}:
        return _module(attributes)
    if not (attributes.named or made.entries.named or made.entries.other or made.items):
        return None
    return _others(attributes, made)


def _others(attributes: Entries, made: Made) -> Iterator[Named]:
    yield from attributes.named.items()
    yield from _entries(made.entries)
    yield from _row(made.items)


def _module(attributes: Entries) -> Iterator[Named]:
    hidden = attributes.named.get("_non_persistent_buffers_set")
    names = {name for name in hidden if isinstance(name, str)} if isinstance(hidden, list) else set()
    for part in (_PARAMETERS, _BUFFERS, _MODULES):
        entries = attributes.named.get(part)
        if isinstance(entries, Entries):
            yield from (pair for pair in _entries(entries) if part != _BUFFERS or pair[0] not in names)
