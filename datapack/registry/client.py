"""The client of one repository of a registry: finds the scheme, logs in, retries, and explains refusals."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING

from datapack.registry.answer import Answer, RefusedError, UnreachableError, unreachable
from datapack.registry.destination import Destination, Site
from datapack.registry.login import Login, find_login
from datapack.registry.retry import TRIES, backoff, may_pass
from datapack.registry.token import TokenRequest, is_private, may_ask, parse_challenges, parse_token
from datapack.urls import host_of
from datapack.web import NoConnectionError, Web, WebError
from datapack.web.errors import NoTlsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from datapack.registry.name import ImageName
    from datapack.web import Response

TIMEOUT, UPLOAD_TIMEOUT = 60.0, 300.0  # seconds of patience; after an upload the registry checks what it received
CONNECTIONS = 64  # more than anybody uploads at once
_RENEWALS = 3  # tokens that one request may use up
_REDIRECTS = 5
_SHORTEST_SECRET = 4  # letters; to hide every letter of a shorter one would show it
_REDIRECT_STATUSES = {301, 302, 303, 307, 308}
_READING = {"GET", "HEAD"}
_REPEATABLE = {*_READING, "PUT"}  # methods whose requests may be sent twice
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_OK, _BAD_REQUEST, _UNAUTHORIZED = 200, 400, 401
_FIXES = {
    403: "check that the namespace is yours and that the token allows this (GitHub: write:packages)",
    404: "check the name and the digest; a private repository needs a login",
}


class RegistryClient:
    """Sends requests to one repository of a registry; safe to use from several threads.

    Its pickle has only the arguments below: another process reads its own credentials and gets its own token.

    Args:
        name: the repository.
        actions: what the token must allow: ``pull`` or ``pull,push``.
        sources: other repositories of the registry that blobs may be mounted from.
        insecure: accept plain http and untrusted certificates, of the registry and its token service.
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
        self._web = Web(connections=CONNECTIONS, timeout=TIMEOUT, verify=not insecure)
        self._public_web = Web(connections=CONNECTIONS, timeout=TIMEOUT) if insecure else self._web
        self._lock = threading.Lock()
        self._authorization = ""
        self._withheld = ""  # the host of a token service that is not given the password
        self._found: Site | None = None
        self._copy = functools.partial(
            RegistryClient, name, actions=actions, sources=tuple(sources), insecure=insecure, anonymous=anonymous
        )

    def __reduce__(self) -> tuple[Callable[[], RegistryClient], tuple[()]]:
        return self._copy, ()

    def request(
        self,
        method: str,
        path: str | Destination,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request; return the answer, whatever its status. If it may be sent twice, retry what may pass.

        Args:
            method: the HTTP method.
            path: below the repository, such as ``blobs/sha256:...``, or where an earlier answer leads.
            headers: further headers.
            params: added to the query.
            body: the body.

        Raises:
            UnreachableError: the registry sent no whole answer.
            ImageError: it redirects to a place that is not allowed.
        """
        tries = TRIES if method in _REPEATABLE else 1
        for attempt in range(1, tries + 1):
            try:
                with self.open(method, path, headers=headers, params=params, body=body) as response:
                    answer = Answer.read(response, method)
                if attempt == tries or not may_pass(answer.status):
                    return answer
                pause = backoff(attempt, answer.headers.get("Retry-After", ""))
            except UnreachableError as error:
                if attempt >= min(tries, error.max_tries):
                    raise
                pause = backoff(attempt)
            time.sleep(pause)
        raise AssertionError("not reached: the last try returns or raises")

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str | Destination,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes | memoryview] | None = None,
    ) -> Iterator[Response]:
        """Send a request once; yield the response, whose body is not read yet. The arguments are those of `request`.

        It gets or renews a token when the registry asks for one, and follows where the registry redirects a download.
        """
        with self._errors():
            destination = self._site().url(path) if isinstance(path, str) else path
            destination = destination.with_query(params or {})
            for _ in range(_REDIRECTS):
                response = self._send_logged_in(method, destination, headers or {}, body)
                location = response.headers.get("Location", "")
                if method not in _READING or response.status not in _REDIRECT_STATUSES or not location:
                    break
                response.close()
                destination = self._site().follow(response.url, location)
            with response:
                yield response

    def lead(self, answer: Answer, location: str) -> Destination:
        """Return where an answer leads; raise `ImageError` if nothing may be sent there."""
        return self._site().follow(answer.url, location)

    def refusal(self, answer: Answer, doing: str) -> RefusedError:
        """Make the error for an unexpected answer."""
        token = self._authorization.partition(" ")[2]
        secrets = {token, *(self._login.secrets if self._login else ())}
        hidden = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
        return RefusedError(answer, self.name, doing, self._fix(answer.status), hidden)

    def _fix(self, status: int) -> str:
        if may_pass(status):
            return "try again later"
        if status != _UNAUTHORIZED:
            return _FIXES.get(status, "ask the registry's operator what is wrong")
        registry, login = (
            self.name.registry,
            f"'docker login {self.name.registry}' or 'podman login {self.name.registry}'",
        )
        if self._withheld:
            return f"it asks for the password over plain http ({self._withheld}), where datapack sends none"
        if self._login is None:
            return f"no credential for {registry} was found: log in with {login}"
        return f"the credential for {registry} is not accepted: if it is out of date, run {login}"

    def _send_logged_in(
        self,
        method: str,
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes | memoryview] | None,
    ) -> Response:
        """Send a request with the credential, if it goes to the registry itself; a credential goes nowhere else."""
        web = self._public_web if destination.public_only else self._web
        timeout, public = TIMEOUT if method in _READING else UPLOAD_TIMEOUT, destination.public_only
        used = self._authorization
        for renewals in range(_RENEWALS + 1):
            sent = {**headers, "Authorization": used} if used and destination.own else headers
            response = web.request(
                method, destination.url, headers=sent, body=body, timeout=timeout, public_only=public
            )
            if response.status != _UNAUTHORIZED or not destination.own or renewals == _RENEWALS:
                break
            fresh = self._authorize(response.headers.get("WWW-Authenticate", ""), used)
            if fresh in {"", used}:
                break
            response.close()
            used = fresh
        return response

    def _authorize(self, challenge: str, used: str) -> str:
        """Return the ``Authorization`` that a 401 asks for; if there is no other, the current one, ``used``."""
        with self._lock:
            if self._authorization == used:  # otherwise another thread has already replaced it
                self._authorization = self._new_authorization(challenge) or used
            return self._authorization

    def _new_authorization(self, header: str) -> str:
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        bearer = challenges.get("bearer")
        if bearer is not None and may_ask(bearer.realm, self.name, insecure=True):
            login = self._login if is_private(bearer.realm, self.name) else None
            self._withheld = host_of(bearer.realm) if self._login is not None and login is None else ""
            if may_ask(bearer.realm, self.name, insecure=self._insecure):
                token = self._get_token(TokenRequest.of(bearer, self._scopes, login))
                return f"Bearer {token}" if token else ""
        return self._login.basic if "basic" in challenges and self._login else ""

    def _get_token(self, request: TokenRequest) -> str:
        """Get a token, or nothing: then the registry's own 401 says what is wrong. A redirect is not followed."""
        with self._web.request(request.method, request.url, headers=request.headers, body=request.body) as response:
            answer = Answer.read(response, request.method)
            return parse_token(answer.json()) if answer.status == _OK else ""

    def _site(self) -> Site:
        with self._lock:
            self._found = self._found or Site(self.name, self._find_root())
            return self._found

    def _find_root(self) -> str:
        """Find the scheme: https, or http if that is accepted. On loopback http comes first, as with engines."""
        host = _DOCKER_HUB.get(self.name.registry, self.name.registry)
        plain, secure = f"http://{host}", f"https://{host}"
        if self.name.is_loopback:
            return self._find_local_root(plain, secure)
        try:
            self._ping(secure)
        except WebError:
            if not self._insecure:
                raise
            self._ping(plain)
            return plain
        return secure

    def _find_local_root(self, plain: str, secure: str) -> str:
        try:
            if self._ping(plain) != _BAD_REQUEST:  # so servers in Go answer that expect TLS
                return plain
            failure = None
        except NoConnectionError:
            raise
        except WebError as error:
            failure = error
        try:
            self._ping(secure)
        except NoTlsError:
            if failure is not None:
                raise failure from None
            return plain
        return secure

    def _ping(self, root: str) -> int:
        with self._web.request("GET", f"{root}/v2/") as response:
            return response.status

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except WebError as error:
            raise unreachable(error, self.name) from error
