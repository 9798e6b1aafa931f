"""Move a research dataset into a Trusted Research Environment as a verified import container.

Five functions do in a notebook what the commands of the same names do in a shell. They print nothing, never end the
program, and raise `DatapackError`, one line that says what is wrong and what to do:

    import datapack

    fetched = datapack.fetch("reef@v1")      # the data, as a checked bag
    checked = datapack.check("reef@v1")      # what may be wrong with it
    page = datapack.report("reef@v1")        # one HTML page that shows it
    built = datapack.build("reef@v1")        # its import container
    datapack.verify(built.target)            # every byte of that

This and what ``__all__`` names is the public interface. Everything else is private, and changes without notice.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datapack.api.checking import check, report, verify
    from datapack.api.making import build, fetch
    from datapack.api.results import Built, Checked, Fetched, Report, Verified
    from datapack.errors import DatapackError
    from datapack.inspect.findings import Finding

__version__ = "0.2.0"
__all__ = [
    "Built",
    "Checked",
    "DatapackError",
    "Fetched",
    "Finding",
    "Report",
    "Verified",
    "__version__",
    "build",
    "check",
    "fetch",
    "report",
    "verify",
]
_HOMES = {
    "checking": ("check", "report", "verify"),
    "making": ("build", "fetch"),
    "results": ("Built", "Checked", "Fetched", "Report", "Verified"),
}
_WHERE = {name: f"datapack.api.{home}" for home, names in _HOMES.items() for name in names}
_WHERE |= {"DatapackError": "datapack.errors", "Finding": "datapack.inspect.findings"}
_PACKAGES = ("build", "fetch", "report", "verify")  # these functions share their name with a package inside


def _public(name: str) -> Any:
    return getattr(import_module(_WHERE[name]), name)


class _Callable(ModuleType):
    """A package that has the name of a public function. It can be called as that function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _public(self.__name__.rpartition(".")[2])(*arguments, **options)

    @property
    def __wrapped__(self) -> Any:  # for help and completion, which show the function's parameters
        return _public(self.__name__.rpartition(".")[2])


class _Package(ModuleType):
    """The type of this package. Python sets an attribute of it for each package inside that is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import what is public once it is used (PEP 562): `import datapack` itself loads nothing."""
    if name in _PACKAGES:
        return import_module(f"datapack.{name}")
    if name in _WHERE:
        return _public(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
