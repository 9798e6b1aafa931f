"""Read a pickle and run nothing: names are not imported, calls are recorded, objects are stand-ins.

``pickletools`` of the standard library decodes the opcodes; this module keeps the stack. The standard library's own
unpicklers can be told what to import, but a hostile file still gets them to take all memory (by one memo index) or to
end the process (by the hash of a deep tuple).
"""

from __future__ import annotations

import pickletools
from typing import TYPE_CHECKING, Any

from datapack.weights.inert import Entries, Made, Name, Record, brief, brief_call
from datapack.weights.plain import CONTAINERS, RECONSTRUCTORS, is_plain

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping

    Arguments = tuple[object, ...]
    Rebuild = Callable[[Arguments], object]
    Values = list[object]

MOST_OPCODES = 1_000_000  # of a file: a model of 10,000 tensors has 400,000, and these need 400 MB at most
_MOST_MEMO = 1 << 32


class Machine:
    """Reads the pickles of one file."""

    def __init__(
        self, rebuild: Mapping[str, Rebuild], persistent: Callable[[object], object], record: Record | None = None
    ) -> None:
        """Make a machine.

        Args:
            rebuild: functions whose results are known, by their full names: each gets the arguments.
            persistent: returns what a persistent id stands for.
            record: gets what the pickles would call.
        """
        self.record = record or Record()
        self._rebuild = {**CONTAINERS, **rebuild}
        self._persistent = persistent
        self._opcodes = 0
        self._start()

    def _start(self) -> None:
        self.stack: Values = []
        self._marked: list[Values] = []  # the stack below each mark
        self._memo: dict[int, object] = {}

    def load(self, stream: io.BytesIO) -> object:
        """Read one pickle from where a stream is; leave the stream behind it.

        Raises:
            ValueError: the pickle is broken, or larger than that of any weights.
        """
        self._start()
        try:
            for opcode, arg in _opcodes(stream):
                self._opcodes += 1
                if self._opcodes > MOST_OPCODES:
                    raise ValueError(f"a pickle of more than {MOST_OPCODES:,} steps")
                step = _STEPS.get(opcode)
                if step:
                    step(self)
                else:
                    _STEPS_WITH[opcode](self, arg)
            return self.stack.pop()
        except (IndexError, KeyError) as error:
            raise ValueError("a broken pickle: it takes a value where there is none") from error
        except (MemoryError, OverflowError) as error:
            raise ValueError("a broken pickle: it needs more memory than there is") from error
        finally:
            self._start()

    # Constants, marks and the memo.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def _mark(self) -> None:
        self._marked.append(self.stack)
        self.stack = []

    def above(self) -> Values:
        """Take everything above the last mark."""
        above, self.stack = self.stack, self._marked.pop()
        return above

    def _pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.above()

    def _pop_mark(self) -> None:
        self.above()

    def _put(self, place: int) -> None:
        if not 0 <= place < _MOST_MEMO:
            raise ValueError(f"a broken pickle: its memo has a place {brief(place)}")
        self._memo[place] = self.stack[-1]

    def _get(self, place: int) -> None:
        self.push(self._memo[place])

    def _memoize(self) -> None:
        self._put(len(self._memo))

    # Containers.

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.push(tuple(taken))

    def append(self, values: Values) -> None:
        """Append values to what is now on top."""
        match target := self.stack[-1]:
            case list():
                target += values
            case Made():
                target.items += values
            case _:
                self.record.call(brief_call(Name(brief(target), "extend"), (values,)))

    def put_all(self, values: Values) -> None:
        """Put keys and values into what is now on top."""
        if len(values) % 2:
            raise ValueError("a broken pickle: a key without a value")
        target = self.stack[-1]
        if isinstance(target, Entries | Made):
            entries = target if isinstance(target, Entries) else target.entries
            for key, value in zip(values[::2], values[1::2], strict=True):
                entries.put(key, value)
        else:
            self.record.call(brief_call(Name(brief(target), "__setitem__"), tuple(values)))

    def _dictionary(self) -> None:
        values = self.above()
        self.push(Entries())
        self.put_all(values)

    # Names, calls and objects.

    def name(self, module: object, name: object) -> Name:
        """Make the stand-in of a name, and record that it would be imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a broken pickle: a name that is not text")
        made = Name(module, name)
        if made.full not in self._rebuild and not is_plain(made.full):
            self.record.bring(made)
        return made

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push(self.name(module, name))

    def call(self, what: object, args: object) -> object:
        """Return what a call stands for; record it unless what it makes is known."""
        if not isinstance(args, tuple):
            raise ValueError("a broken pickle: a call without a tuple of arguments")
        if isinstance(what, Name):
            if what.full in RECONSTRUCTORS and args and isinstance(args[0], Name):
                return self.make(args[0], args[1:])
            if rebuild := self._rebuild.get(what.full):
                return rebuild(args)
            if is_plain(what.full):
                return Made(what, args)
        self.record.call(brief_call(what, args))
        return Made(what, args)

    def make(self, what: object, args: object) -> object:
        """Return what stands for a new object of a class."""
        if not isinstance(args, tuple):
            raise ValueError("a broken pickle: an object without a tuple of arguments")
        if not isinstance(what, Name):
            self.record.call(brief_call(what, args))
        elif container := CONTAINERS.get(what.full):
            return container(args)
        elif not is_plain(what.full):
            self.record.make(what)
        return Made(what, args)

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.push(self.call(self.stack.pop(), args))

    def _new(self) -> None:
        args = self.stack.pop()
        self.push(self.make(self.stack.pop(), args))

    def _new_with_names(self) -> None:
        self.stack.pop()  # the arguments that have names
        self._new()

    def _object(self) -> None:
        what, *args = self.above()
        self.push(self.call(what, tuple(args)))

    def _instance(self, name: str) -> None:
        self.push(self.call(self.name(*name.split(" ", 1)), tuple(self.above())))

    def _build(self) -> None:
        state = self.stack.pop()
        match target := self.stack[-1]:
            case Made():
                target.state = state
            case Entries() | list():  # attributes of a container: OrderedDict has some
                pass
            case _:
                self.record.call(brief_call(Name(brief(target), "__setstate__"), (state,)))

    def persistent(self, identity: object) -> None:
        self.push(self._persistent(identity))


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield the name and the argument of each opcode of one pickle."""
    try:
        for opcode, arg, _ in pickletools.genops(stream):
            yield opcode.name, arg
    except ValueError as error:
        raise ValueError(f"a broken pickle: {error}") from error


_M = Machine
_CONSTANTS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
)


def _out_of_band(_: Machine) -> None:
    raise ValueError("a broken pickle: it needs data from elsewhere")


def _nothing(_: object, __: object = None) -> None:
    pass


# What each opcode does. Its argument is in the second table.
_STEPS: Mapping[str, Callable[[Machine], None]] = {
    "MARK": _M._mark,
    "POP": _M._pop,
    "POP_MARK": _M._pop_mark,
    "DUP": lambda m: m.push(m.stack[-1]),
    "MEMOIZE": _M._memoize,
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE1": lambda m: m._tuple(1),
    "TUPLE2": lambda m: m._tuple(2),
    "TUPLE3": lambda m: m._tuple(3),
    "TUPLE": lambda m: m.push(tuple(m.above())),
    "EMPTY_LIST": lambda m: m.push([]),
    "EMPTY_SET": lambda m: m.push([]),
    "LIST": lambda m: m.push(m.above()),
    "FROZENSET": lambda m: m.push(m.above()),
    "APPEND": lambda m: m.append([m.stack.pop()]),
    "APPENDS": lambda m: m.append(m.above()),
    "ADDITEMS": lambda m: m.append(m.above()),
    "EMPTY_DICT": lambda m: m.push(Entries()),
    "DICT": _M._dictionary,
    "SETITEM": lambda m: m.put_all([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m: m.put_all(m.above()),
    "STACK_GLOBAL": _M._stack_global,
    "REDUCE": _M._reduce,
    "NEWOBJ": _M._new,
    "NEWOBJ_EX": _M._new_with_names,
    "OBJ": _M._object,
    "BUILD": _M._build,
    "BINPERSID": lambda m: m.persistent(m.stack.pop()),
    "NEXT_BUFFER": _out_of_band,
    "READONLY_BUFFER": _out_of_band,
    "STOP": _nothing,
}
_STEPS_WITH: Mapping[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(_CONSTANTS, _M.push),
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _M._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _M._get),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda m, code: m.push(m.name("copyreg.extension", str(code)))),
    "GLOBAL": lambda m, name: m.push(m.name(*name.split(" ", 1))),
    "INST": _M._instance,
    "PERSID": _M.persistent,
}
