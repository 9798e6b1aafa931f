"""Errors of a store as messages: the cause and what to do, without a secret.

The libraries raise many kinds of errors, whose texts can hold keys and whole requests. So only codes and class names of
theirs are shown.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from datapack.catalog.sources.storage import AZURE, GS, S3

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = re.compile(r"[A-Za-z0-9_.]{1,60}")


class Trouble(NamedTuple):
    """Why a request failed."""

    reason: str
    fix: str | None = None
    all_fail: bool = False  # other requests would fail too
    temporary: bool = False  # another try may succeed


_EXPIRED = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "UnauthorizedSSOTokenError"),
    *("TokenRetrievalError", "SSOTokenLoadError", "RefreshError", "ReauthFailError"),
}
_UNKNOWN_KEY = {
    *("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidSecurity", "401"),
    *("UnrecognizedClientException", "AuthenticationFailed", "AuthenticationException", "ClientAuthenticationError"),
}
_NO_KEY = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("DefaultCredentialsError", "NoAuthTokenError", "MissingSecurityHeader"),
}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403", "PermissionError"}
_REGION = {
    *("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "Redirect"),
    *("TemporaryRedirect", "307", "NoRegionError"),
}
_CHANGED = {"PreconditionFailed", "412", "FileExpired"}
_BUSY = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "408", "429", "500", "502", "503", "504"),
    *("IncompleteBody", "IncompleteReadError", "ResponseStreamingError", "ClientPayloadError", "ContentLengthError"),
    *("ChecksumError", "FlexibleChecksumError"),
}
_NO_ANSWER = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError"),
    *("ProxyConnectionError", "SSLError", "ClientConnectorError", "ClientOSError", "ServerDisconnectedError"),
    *("ServerTimeoutError", "FSTimeoutError", "TimeoutError", "ConnectionError", "ConnectionRefusedError", "gaierror"),
    *("ConnectionResetError", "ClientConnectorDNSError", "ClientConnectorCertificateError", "SSHException"),
    *("NoValidConnectionsError", "ServerConnectionError", "SocketTimeoutError", "ConnectionTimeoutError"),
}


def explain(error: BaseException, scheme: str) -> Trouble:
    """Say why a request to a store failed."""
    names = list(_names(error))
    found = next((code for code in names if code.isdigit() or code != type(error).__name__), names[0])
    place = credential_place(scheme)
    for codes, trouble in (
        ({"LeadsAwayError"}, Trouble("the store redirects to another server", "use its own endpoint", all_fail=True)),
        (_EXPIRED, Trouble("the credentials have expired", f"renew those of {place}", all_fail=True)),
        (_UNKNOWN_KEY, Trouble("the store does not accept the credentials", f"check those of {place}", all_fail=True)),
        (
            _NO_KEY,
            Trouble("no credentials", f"set up {place}, or add 'anonymous: true' for a public store", all_fail=True),
        ),
        (_REGION, Trouble("the bucket is in another region", _region_fix(scheme), all_fail=True)),
        ({"RequestTimeTooSkewed"}, Trouble("this machine's clock is wrong", "set it", all_fail=True)),
        ({"NoSuchBucket"}, Trouble("no such bucket", "check the name and the endpoint", all_fail=True)),
        ({"InvalidObjectState"}, Trouble("the object is archived", "restore it in the store first")),
        (_CHANGED, Trouble("the object changed while it was read")),
        (_BUSY, Trouble(f"the store is busy or broke off ({found})", temporary=True)),
        (_NO_ANSWER, Trouble("no answer from the store", "check the endpoint and the network", temporary=True)),
        (_FORBIDDEN, Trouble("no permission", f"ask for it, or check the credentials of {place}")),
        ({"NoSuchKey", "404", "FileNotFoundError", "NotFound"}, Trouble("no such object", "check the name")),
    ):
        if not codes.isdisjoint(names):
            return trouble
    return Trouble(f"the store's library failed ({found})")


def _names(error: BaseException) -> Iterator[str]:
    """Yield the codes and class names of an error and of those that caused it, the first cause last."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        response = getattr(each, "response", None)
        details = response.get("Error") if isinstance(response, dict) else None
        code = details.get("Code") if isinstance(details, dict) else getattr(each, "code", None)
        if code is not None and _CODE.fullmatch(str(code)):
            yield str(code)
        yield from (kind.__name__ for kind in type(each).__mro__[:-3])  # without what all errors are
        each = each.__cause__ or each.__context__


def credential_place(scheme: str) -> str:
    """Say where the library finds the user's credentials; never what they are."""
    if scheme in S3:
        if "AWS_ACCESS_KEY_ID" in os.environ:
            return "AWS_SESSION_TOKEN" if "AWS_SESSION_TOKEN" in os.environ else "AWS_ACCESS_KEY_ID"
        if "AWS_PROFILE" in os.environ:
            return f"the profile {os.environ['AWS_PROFILE']} (AWS_PROFILE)"
        return "AWS_ACCESS_KEY_ID or ~/.aws"
    if scheme in GS:
        given = "GOOGLE_APPLICATION_CREDENTIALS" in os.environ
        return "GOOGLE_APPLICATION_CREDENTIALS" if given else "'gcloud auth application-default login'"
    return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY" if scheme in AZURE else f"{scheme}://"


def _region_fix(scheme: str) -> str:
    return "set AWS_DEFAULT_REGION to the bucket's region" if scheme in S3 else "use the endpoint of its region"
