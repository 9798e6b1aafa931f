"""Challenges, and the token requests that answer them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from datapack.registry import ImageName
from datapack.registry.login import Login
from datapack.registry.token import Challenge, TokenRequest, is_private, may_ask, parse_challenges, parse_token

SCOPES = ["repository:group/reef:pull,push", "repository:other:pull"]
QUERY = "service=registry.test&scope=repository%3Agroup%2Freef%3Apull%2Cpush&scope=repository%3Aother%3Apull"
BEARER = Challenge("bearer", {"realm": "https://auth.test/token", "service": "registry.test"})


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, \\"quoted\\" realm"', [("basic", {"realm": 'a, "quoted" realm'})]),
        (
            'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:reef:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.test/token",
                        "service": "registry.test",
                        "scope": "repository:reef:pull,push",
                    },
                )
            ],
        ),
        ('BEARER Realm = "x" , service=plain', [("bearer", {"realm": "x", "service": "plain"})]),
        (
            'Basic realm="a", Bearer realm="b",service="c"',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        ('Negotiate, Basic realm="a"', [("negotiate", {}), ("basic", {"realm": "a"})]),
        (
            "Bearer realm=https://auth.test/token,service=x",
            [("bearer", {"realm": "https://auth.test/token", "service": "x"})],
        ),
        ('Bearer realm="open', [("bearer", {})]),
        ("=?=", []),
    ],
    ids=["none", "bare", "escaped", "commas", "spaces", "two", "without parameters", "unquoted", "open", "garbage"],
)
def test_challenges(header, challenges):
    """Quoted commas, several challenges, any case; what can't be read ends the list."""
    assert [(found.scheme, dict(found.parameters)) for found in parse_challenges(header)] == challenges


def test_a_password_is_exchanged_with_get():
    """The password is in the header, the scopes are in the query."""
    request = TokenRequest.of(BEARER, SCOPES, Login("me", "secret"))
    assert request.method == "GET"
    assert request.url == f"https://auth.test/token?{QUERY}"
    assert request.headers == {"Authorization": "Basic bWU6c2VjcmV0"}
    assert "secret" not in repr(request)


def test_an_identity_token_is_exchanged_with_post():
    """The identity token is the refresh token of OAuth 2; it is in the body, not in the URL."""
    request = TokenRequest.of(BEARER, SCOPES, Login(identity_token="a-token"))
    assert (request.method, request.url) == ("POST", "https://auth.test/token")
    assert request.body is not None
    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "a-token",
        "client_id": "datapack",
        "service": "registry.test",
        "scope": " ".join(SCOPES),
    }
    assert "a-token" not in repr(request)


def test_without_a_login_the_request_is_anonymous():
    """There is no credential in it. A realm may have a query already."""
    challenge = Challenge("bearer", {"realm": "https://auth.test/token?account=x", "service": "registry.test"})
    request = TokenRequest.of(challenge, SCOPES, None)
    assert request == TokenRequest("GET", f"https://auth.test/token?account=x&{QUERY}")


HERE, ELSEWHERE = ImageName.parse("127.0.0.1:5000/reef"), ImageName.parse("registry.test/reef")
ODD = [
    "http://127.0.0.1@auth.test/token",
    "http://auth.test\\@127.0.0.1/token",
    "https://auth.test\\@127.0.0.1/token",
    "https://me:secret@auth.test/token",
    "ftp://127.0.0.1/token",
    "https://[::1/token",
    "https://auth.test:port/token",
    "https:///token",
    "/token",
    "",
]


@pytest.mark.parametrize("registry", [HERE, ELSEWHERE])
def test_a_login_goes_over_tls(registry):
    """TLS protects a login on its way."""
    assert is_private("https://auth.test/token", registry)
    assert may_ask("https://auth.test/token", registry, insecure=False)


@pytest.mark.parametrize("realm", ["http://127.0.0.1:5001/token", "http://localhost/token", "http://[::1]:5001/token"])
def test_a_login_stays_on_this_machine(realm):
    """Plain http is private on this machine, but no registry elsewhere may name a port of this machine."""
    assert is_private(realm, HERE)
    assert not is_private(realm, ELSEWHERE)
    assert not may_ask(realm, ELSEWHERE, insecure=False)
    assert may_ask(realm, ELSEWHERE, insecure=True)  # without the login


@pytest.mark.parametrize("registry", [HERE, ELSEWHERE])
def test_no_login_goes_over_plain_http_to_another_machine(registry):
    """Where others can read it, not even --insecure sends a login; the token is asked for anonymously."""
    assert not is_private("http://auth.test/token", registry)
    assert not may_ask("http://auth.test/token", registry, insecure=False)
    assert may_ask("http://auth.test/token", registry, insecure=True)


@pytest.mark.parametrize("realm", ODD)
@pytest.mark.parametrize("registry", [HERE, ELSEWHERE])
def test_realms_that_are_not_asked_at_all(registry, realm):
    """What is no URL, and what two programs read differently, gets nothing."""
    assert not is_private(realm, registry)
    assert not may_ask(realm, registry, insecure=True)


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "abc"}, "abc"),
        ({"access_token": "abc"}, "abc"),
        ({"token": "", "access_token": "abc"}, "abc"),
        ({"token": 7}, ""),
        ({"token": "two\nlines"}, ""),
        ({"token": "\u00e4"}, ""),
        ({"token": "a" * 70_000}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_answers(answer, token):
    """Only text that may be in a header is a token."""
    assert parse_token(answer) == token
