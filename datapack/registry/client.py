"""The client of one repository of a registry: finds the scheme, logs in, retries, and explains refusals."""

from __future__ import annotations

import functools
import re
import ssl
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from datapack.errors import ImageError
from datapack.registry.login import Login, find_login
from datapack.registry.token import TokenRequest, is_private, parse_challenges, parse_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import requests

    from datapack.registry.name import ImageName
    from datapack.registry.session import Session


TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
UPLOAD_TIMEOUT = (60, 300)  # seconds to connect or to send a block, and until the registry has checked what it received
TRIES = 5  # of a request that changes nothing, and of an upload
BACKOFF = 0.5  # seconds, doubled with each try of a request that changes nothing
RENEWALS = 3  # tokens that one request may use up
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_MESSAGE_SHOWN = 200  # letters of a registry's own message


class RefusedError(ImageError):
    """A registry refused a request. ``status`` is HTTP's, ``code`` the registry's own, if it gave one."""

    def __init__(self, response: requests.Response, name: object, doing: str, fix: str) -> None:
        self.status, self.code = response.status_code, ""
        self.retry_after = response.headers.get("Retry-After", "")
        message = ""
        try:
            first = response.json()["errors"][0]
            self.code, message = str(first.get("code", "")), str(first.get("message", ""))
        except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError):
            pass  # not every registry gives its reason in OCI's form, and proxies in front of one never do
        said = " ".join(f"{self.code} {message}".split())[:_MESSAGE_SHOWN]
        found = f"HTTP {self.status} {response.reason or ''}".rstrip() + (f" ({said})" if said else "")
        super().__init__(f"the registry refuses {doing}", where=name, found=found, fix=fix)


class UnreachableError(ImageError):
    """A registry sent no answer, or only a part of one. ``may_pass``: whether a retry may succeed."""

    may_pass = True


class RegistryClient:
    """Sends requests to one repository of a registry; safe to use from several threads.

    Its pickle has only the arguments below: another process reads its own credentials and gets its own token.

    Args:
        name: the repository.
        actions: what the token must allow: ``pull`` or ``pull,push``.
        sources: other repositories of the registry that blobs may be mounted from.
        insecure: accept plain http and untrusted certificates.
        anonymous: use no credential.
    """

    def __init__(
        self,
        name: ImageName,
        *,
        actions: str = "pull",
        sources: Sequence[str] = (),
        insecure: bool = False,
        anonymous: bool = False,
    ) -> None:
        self.name = name
        self._scopes = [f"repository:{name.repository}:{actions}", *(f"repository:{path}:pull" for path in sources)]
        self._insecure = insecure
        self._login: Login | None = None if anonymous else find_login(name)
        self._session = _new_session(insecure)
        self._lock = threading.Lock()
        self._authorization = ""
        self._root = ""
        self._copy = functools.partial(
            RegistryClient, name, actions=actions, sources=tuple(sources), insecure=insecure, anonymous=anonymous
        )

    def __reduce__(self) -> tuple[Callable[[], RegistryClient], tuple[()]]:
        return self._copy, ()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        """Send a request; return the answer, whatever its status. Get or renew a token when the registry asks for one.

        Args:
            method: the HTTP method.
            path: below the repository, such as ``blobs/sha256:...``, or a URL from an earlier answer.
            headers: further headers.
            params: for the query.
            data: the body; an iterable is sent block by block.
            stream: leave the answer's body to be read later.

        Raises:
            UnreachableError: the registry sent no answer.
        """
        url = urljoin(self._repository_url(), path)
        authorization = self._authorization
        for renewals in range(RENEWALS + 1):
            sent = {**(headers or {}), **self._credential_for(url, authorization)}
            response = self._send(method, url, headers=sent, params=params, data=data, stream=stream)
            if response.status_code != _UNAUTHORIZED or renewals == RENEWALS:
                break
            fresh = self._authorize(response, authorization)
            if fresh in {"", authorization}:
                break
            response.close()
            authorization = fresh
        return response

    def refusal(self, response: requests.Response, doing: str) -> RefusedError:
        """Make the error for an unexpected answer."""
        return RefusedError(response, self.name, doing, self._fix(response.status_code))

    def _fix(self, status: int) -> str:
        login = f"'docker login {self.name.registry}' or 'podman login {self.name.registry}'"
        if status == _UNAUTHORIZED and self._login is None:
            return f"no credential for {self.name.registry} was found: log in with {login}"
        if status == _UNAUTHORIZED:
            return f"the credential for {self.name.registry} is not accepted: if it is out of date, run {login}"
        if status == _FORBIDDEN:
            return "check that the namespace is yours and that the token allows this (GitHub: write:packages)"
        if status == _NOT_FOUND:
            return "check the name and the digest; a private repository needs a login"
        return "try again later: the same command resumes"

    def _credential_for(self, url: str, authorization: str) -> dict[str, str]:
        """Return the header with the credential for a URL of the registry; a credential goes nowhere else."""
        same = urlsplit(url)[:2] == urlsplit(self._root)[:2]
        return {"Authorization": authorization} if authorization and same else {}

    def _authorize(self, response: requests.Response, used: str) -> str:
        """Return the ``Authorization`` that a 401 asks for; if there is no other, the current one, ``used``."""
        with self._lock:
            if self._authorization == used:  # otherwise another thread has already replaced it
                self._authorization = self._new_authorization(response.headers.get("WWW-Authenticate", "")) or used
            return self._authorization

    def _new_authorization(self, header: str) -> str:
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        bearer = challenges.get("bearer")
        if bearer is not None and self._may_ask(bearer.realm):
            token = self._get_token(TokenRequest.of(bearer, self._scopes, self._login))
            return f"Bearer {token}" if token else ""
        return self._login.basic if "basic" in challenges and self._login else ""

    def _may_ask(self, realm: str) -> bool:
        """Whether a token may be requested from a URL: over TLS, or over plain http if the registry may use that."""
        if realm.startswith("https://"):
            return True
        return realm.startswith("http://") and (self._insecure or (self.name.is_loopback and is_private(realm)))

    def _get_token(self, request: TokenRequest) -> str:
        response = self._send(request.method, request.url, **request.options)
        try:
            return parse_token(response.json()) if response.status_code == _OK else ""
        except (ValueError, RecursionError):  # no JSON: the registry's own 401 says what is wrong
            return ""

    def _repository_url(self) -> str:
        with self._lock:
            self._root = self._root or self._find_root()
        return f"{self._root}/v2/{self.name.repository}/"

    def _find_root(self) -> str:
        """Find the scheme: https, or http if that is accepted. On loopback http comes first, as with engines."""
        host = _DOCKER_HUB.get(self.name.registry, self.name.registry)
        plain, secure = f"http://{host}", f"https://{host}"
        if self.name.is_loopback:
            try:
                if self._send("GET", f"{plain}/v2/").status_code != _BAD_REQUEST:
                    return plain
            except UnreachableError as error:
                if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
                    raise
            self._send("GET", f"{secure}/v2/")
            return secure
        try:
            self._send("GET", f"{secure}/v2/")
        except UnreachableError as error:
            if not (self._insecure and _is_tls_failure(error)):
                raise
            return plain
        return secure

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        import requests

        reads = method in {"GET", "HEAD"}
        timeout = TIMEOUT if reads else UPLOAD_TIMEOUT
        options |= {"timeout": timeout, "allow_redirects": reads, "verify": not self._insecure}
        try:
            return self._session.request(method, url, **options)
        except (requests.RequestException, OSError, ValueError) as error:
            raise unreachable(error, self.name) from error


class _UntrustedError(UnreachableError):
    may_pass = False


def unreachable(error: BaseException, name: ImageName) -> UnreachableError:
    """Make the error that says why no answer came, without the URL, which may contain a token."""
    causes = list(_causes(error))
    certificate = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return _UntrustedError(
            "the registry's certificate can't be trusted",
            where=name,
            found=certificate.verify_message,
            fix="name the file of its certificate authority in REQUESTS_CA_BUNDLE, or use --insecure",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return _UntrustedError(
            "the registry does not speak TLS",
            where=name,
            found=f"{causes[-1]}",
            fix="check the name; --insecure uses plain http, where others can read everything, the token too",
        )
    innermost = causes[-1]
    found = f"{type(innermost).__name__}: {innermost}" if isinstance(innermost, OSError) else type(innermost).__name__
    return UnreachableError(
        "the registry can't be reached",
        where=name,
        found=re.sub(r"https?://\S+", "", found),
        fix="check the network and run the same command again: it resumes",
    )


def _is_tls_failure(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; urllib3 keeps some in ``reason`` and some in its arguments."""
    current: BaseException | None = error
    while current is not None:
        yield current
        inside = (getattr(current, "reason", None), *current.args)
        hidden = next((part for part in inside if isinstance(part, BaseException)), None)
        current = current.__cause__ or current.__context__ or hidden


def _new_session(insecure: bool) -> Session:
    from datapack.registry.session import Session  # it imports requests

    if insecure:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Session(TRIES, BACKOFF)
