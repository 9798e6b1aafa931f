"""A connection to one repository of a registry: which scheme, as whom, how patiently, and what its refusals mean."""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from datapack.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import requests

    from datapack.registry.name import ImageName


TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
UPLOAD_TIMEOUT = (60, 300)  # seconds to connect or to send a block, and until the registry has looked at what it got
TRIES = 5  # of a request that changes nothing, and of an upload
BACKOFF = 0.5  # seconds, doubled with each try of a request that changes nothing
RENEWALS = 3  # so many tokens are got for one request
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
_WORDS = 200  # so many letters of a registry's own message are shown


class RefusedError(ImageError):
    """A registry answered, and not as it should. ``status`` is HTTP's, ``code`` the registry's own, if it gave one."""

    def __init__(self, response: requests.Response, name: object, doing: str, fix: str) -> None:
        self.status, self.code = response.status_code, ""
        self.retry_after = response.headers.get("Retry-After", "")
        message = ""
        try:
            first = response.json()["errors"][0]
            self.code, message = str(first.get("code", "")), str(first.get("message", ""))
        except (ValueError, LookupError, TypeError, AttributeError, OSError):
            pass  # not every registry, and no proxy before one, says why in OCI's form
        said = " ".join(f"{self.code} {message}".split())[:_WORDS]
        found = f"HTTP {self.status} {response.reason or ''}".rstrip() + (f" ({said})" if said else "")
        super().__init__(f"the registry refuses {doing}", where=name, found=found, fix=fix)


class UnreachableError(ImageError):
    """No answer came from a registry, or only a part of one. ``may_pass``: whether another try may get one."""

    may_pass = True


class Connection:
    """One repository of a registry; safe to use from several threads.

    Args:
        name: the repository.
        actions: what the token is asked for: ``pull`` or ``pull,push``.
        sources: other repositories of the registry that blobs may be mounted from.
        insecure: whether http, or https with a certificate that nobody vouches for, will do.
        anonymous: ask as somebody without a credential would.
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
        import requests
        from oras.auth import get_auth_backend

        self.name = name
        self._scopes = [f"repository:{name.repository}:{actions}", *(f"repository:{path}:pull" for path in sources)]
        self._insecure = insecure
        self._session = requests.Session()
        if insecure:
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, _patient_adapter())
        logging.getLogger("oras").setLevel(logging.CRITICAL)  # what it says of credentials, we say in our errors
        self._auth = get_auth_backend("token", self._session, tls_verify=not insecure)
        if not anonymous:
            self._load_credentials()
        self._lock = threading.Lock()
        self._authorization = ""
        self._root = ""

    @property
    def has_credentials(self) -> bool:
        """Whether a credential for this registry was found."""
        return bool(getattr(self._auth, "_basic_auth", ""))

    def _load_credentials(self) -> None:
        from oras.container import Container

        try:
            self._auth.load_configs(Container(self.name.path), configs=[str(path) for path in _credential_files()])
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise ImageError(
                "the credentials can't be read",
                where=self.name.registry,
                expected="what 'docker login' or 'podman login' writes, and a helper that answers as docker's do",
                found=type(error).__name__,
                fix="log in again; remove ~/.docker/config.json if it is damaged",
            ) from None  # what could not be read may be a secret

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
        """Ask for something; return the answer, whatever it is. A token is got, or renewed, where one is asked for.

        Args:
            method: HTTP's.
            path: below the repository, such as ``blobs/sha256:...``, or the address that an earlier answer gave.
            headers: HTTP's.
            params: for the query.
            data: the body; what can be iterated is sent as it comes.
            stream: leave the answer's body to be read later.

        Raises:
            UnreachableError: no answer came.
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
        """Make the error of an answer that is not the one that was asked for."""
        return RefusedError(response, self.name, doing, self._fix(response.status_code))

    def _fix(self, status: int) -> str:
        login = f"'docker login {self.name.registry}' or 'podman login {self.name.registry}'"
        if status == _UNAUTHORIZED and not self.has_credentials:
            return f"no credential for {self.name.registry} was found: {login} keeps one"
        if status == _UNAUTHORIZED:
            return f"the credential for {self.name.registry} is not accepted: is it out of date? {login} renews it"
        if status == _FORBIDDEN:
            return "check that the namespace is yours and that the token may do this (GitHub: write:packages)"
        if status == _NOT_FOUND:
            return "check the name and the digest; a private one needs a login"
        return "try again later; the same command goes on from here"

    def _credential_for(self, url: str, authorization: str) -> dict[str, str]:
        """Give the credential to the registry alone, not to where it sends us."""
        same = urlsplit(url)[:2] == urlsplit(self._root)[:2]
        return {"Authorization": authorization} if authorization and same else {}

    def _authorize(self, response: requests.Response, used: str) -> str:
        """Return the ``Authorization`` that a 401 asks for, or nothing where there is none to be had."""
        from oras.auth.utils import parse_auth_header

        with self._lock:
            if self._authorization != used:
                return self._authorization  # another thread has got it meanwhile
            challenge = response.headers.get("WWW-Authenticate", "")
            asked = parse_auth_header(challenge)
            if challenge.lower().startswith("basic"):
                basic = getattr(self._auth, "_basic_auth", "")
                self._authorization = f"Basic {basic}" if basic else used
            elif asked.realm and (asked.realm.startswith("https://") or self._may_be_plain):
                asked.scope = self._scopes
                get = self._auth.request_token if self.has_credentials else self._auth.request_anonymous_token
                token = self._reach(lambda: get(asked))
                self._authorization = f"Bearer {token}" if token else used
            return self._authorization

    @property
    def _may_be_plain(self) -> bool:
        return self._insecure or self.name.is_loopback

    def _repository_url(self) -> str:
        with self._lock:
            self._root = self._root or self._find_root()
        return f"{self._root}/v2/{self.name.repository}/"

    def _find_root(self) -> str:
        """Find the scheme: https, or where it is allowed http. On loopback http is asked first, as engines do."""
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
            if not (self._insecure and _is_tls_trouble(error)):
                raise
            return plain
        return secure

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        asks = method in {"GET", "HEAD"}
        timeout = TIMEOUT if asks else UPLOAD_TIMEOUT
        options |= {"timeout": timeout, "allow_redirects": asks, "verify": not self._insecure}
        response: requests.Response = self._reach(lambda: self._session.request(method, url, **options))
        return response

    def _reach(self, ask: Any) -> Any:
        import requests

        try:
            return ask()
        except (requests.RequestException, OSError, ValueError) as error:
            raise unreachable(error, self.name) from error


class _UntrustedError(UnreachableError):
    may_pass = False


def unreachable(error: BaseException, name: ImageName) -> UnreachableError:
    """Say why no answer came, without the address and its tokens."""
    causes = list(_causes(error))
    certificate = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return _UntrustedError(
            "the registry's certificate can't be trusted",
            where=name,
            found=certificate.verify_message,
            fix="name the authority that vouches for it in REQUESTS_CA_BUNDLE; --insecure goes on without",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return _UntrustedError(
            "the registry does not speak TLS",
            where=name,
            found=f"{causes[-1]}",
            fix="check the name; --insecure sends everything, the token too, for all to read",
        )
    innermost = causes[-1]
    found = f"{type(innermost).__name__}: {innermost}" if isinstance(innermost, OSError) else type(innermost).__name__
    return UnreachableError(
        "the registry can't be reached",
        where=name,
        found=re.sub(r"https?://\S+", "", found),
        fix="check the network and run the same command again: it goes on from here",
    )


def _is_tls_trouble(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what is behind it, also where urllib3 keeps that in ``reason`` or in its arguments."""
    current: BaseException | None = error
    while current is not None:
        yield current
        inside = (getattr(current, "reason", None), *current.args)
        hidden = next((part for part in inside if isinstance(part, BaseException)), None)
        current = current.__cause__ or current.__context__ or hidden


def _credential_files() -> list[Path]:
    """Give the files, beside ``~/.docker/config.json``, in which engines keep credentials."""
    environment = os.environ
    places = [
        *([Path(environment["DOCKER_CONFIG"], "config.json")] if "DOCKER_CONFIG" in environment else []),
        *([Path(environment["REGISTRY_AUTH_FILE"])] if "REGISTRY_AUTH_FILE" in environment else []),
        Path(environment.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"), "containers/auth.json"),
        Path.home() / ".config/containers/auth.json",
    ]
    return [path for path in places if path.is_file()]


def _patient_adapter() -> Any:
    """Try again, with backoff and as ``Retry-After`` says, where a registry is busy or out of order for a moment."""
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Patient(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override] # all by name
            return super().send(request, **{**options, "timeout": options.get("timeout") or TIMEOUT})  # oras has none

    return Patient(
        pool_maxsize=64,
        max_retries=Retry(
            total=TRIES,
            connect=1,
            backoff_factor=BACKOFF,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
        ),
    )
