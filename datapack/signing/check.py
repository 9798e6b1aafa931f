"""The check of signatures: whether any of those that were found is by a key that the user trusts, and of this subject.

The key's owner decides what it signs, so a signature counts only if the statement is about exactly the subject: the
same files with the same bytes, or the same image. A signature of something else that is by the right key fails too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import DatapackError, SignatureError
from datapack.signing.bundle import Bundle
from datapack.signing.subject import read_fault
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.signing.keys import PublicKey
    from datapack.signing.subject import Subject

_HINT_SHOWN = 80  # characters


class Found(NamedTuple):
    """A signature that was found: where, and its bytes, or why they can't be read."""

    where: str
    content: bytes
    problem: str = ""


@dataclass(frozen=True)
class Valid:
    """A signature that is valid: the key, and where the signature is."""

    key: PublicKey
    where: str


class _Fault(NamedTuple):
    """Why a signature does not count. The lower the rank, the more it says."""

    rank: int
    what: str
    found: str


def find_valid(found: Sequence[Found], subject: Subject, keys: Sequence[PublicKey]) -> Valid | None:
    """Return the first signature of exactly this subject that is by one of these keys, or None."""
    return next((result for one in found if isinstance(result := _check(one, subject, keys), Valid)), None)


def require_valid(found: Sequence[Found], subject: Subject, keys: Sequence[PublicKey], where: str) -> Valid:
    """Return a signature of exactly this subject by one of these keys.

    Raises:
        SignatureError: there is none; it says why, and has a line for each if there are several.
    """
    faults = []
    for one in found:
        result = _check(one, subject, keys)
        if isinstance(result, Valid):
            return result
        faults.append(result)
    expected = f"a signature of the {subject.what} {subject.digest} by {' or '.join(map(str, keys))}"
    if not faults:
        fix = "sign it with 'datapack sign', or name the file of a signature with --signature"
        raise SignatureError("not signed", where=where, expected=expected, found="none", fix=fix)
    best, several = min(faults), len(faults) > 1
    details = tuple(f"{fault.what}: {fault.found}" for fault in faults) if several else ()
    more = f" ({counted(len(faults), 'signature')} in all)" if several else ""
    raise SignatureError(best.what, where=where, expected=expected, found=f"{best.found}{more}", details=details)


def _check(found: Found, subject: Subject, keys: Sequence[PublicKey]) -> Valid | _Fault:
    """Check one signature: first the key, then the statement, as only a signed statement can be trusted at all."""
    if found.problem:
        return _Fault(2, "the signature can't be read", found.problem)
    try:
        bundle = Bundle.parse(found.content, found.where)
    except DatapackError as error:
        return _Fault(2, "the signature can't be read", str(error))
    for key in keys:
        if bundle.is_by(key):
            return _check_statement(bundle, found.where, subject, key)
    for key in keys:
        if bundle.names(key):
            return _Fault(1, f"the signature is damaged or forged: it is not by {key}, which it names", found.where)
    hint = f"a key with the hint {bundle.hint[:_HINT_SHOWN]}" if bundle.hint else "a key that it does not name"
    return _Fault(3, "signed by another key", f"{found.where}, by {hint}")


def _check_statement(bundle: Bundle, where: str, subject: Subject, key: PublicKey) -> Valid | _Fault:
    try:
        fault = read_fault(subject, bundle.read_statement(where))
    except DatapackError as error:
        fault = str(error)
    return (
        _Fault(0, f"what this key signed is not this {subject.what}", f"{where}: {fault}")
        if fault
        else Valid(key, where)
    )
