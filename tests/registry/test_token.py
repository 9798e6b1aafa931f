"""Challenges, and the token requests that answer them."""

from __future__ import annotations

import pytest

from datapack.registry.login import Login
from datapack.registry.token import Challenge, TokenRequest, is_private, parse_challenges, parse_token

SCOPES = ["repository:group/reef:pull,push", "repository:other:pull"]
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
    """The request has the password as Basic authentication, and asks for every scope."""
    request = TokenRequest.of(BEARER, SCOPES, Login("me", "secret"))
    assert (request.method, request.url) == ("GET", "https://auth.test/token")
    assert request.options["headers"] == {"Authorization": "Basic bWU6c2VjcmV0"}
    assert request.options["params"] == {"service": "registry.test", "scope": SCOPES}


def test_an_identity_token_is_exchanged_with_post():
    """The identity token is the refresh token of OAuth 2; it is in the body, not in the URL."""
    request = TokenRequest.of(BEARER, SCOPES, Login(identity_token="a-token"))
    assert (request.method, request.url) == ("POST", "https://auth.test/token")
    assert dict(request.options) == {
        "data": {
            "grant_type": "refresh_token",
            "refresh_token": "a-token",
            "client_id": "datapack",
            "service": "registry.test",
            "scope": " ".join(SCOPES),
        }
    }


def test_without_a_login_the_request_is_anonymous():
    """There is no credential in it."""
    request = TokenRequest.of(BEARER, SCOPES, None)
    assert (request.method, dict(request.options)) == ("GET", {"params": {"service": "registry.test", "scope": SCOPES}})


@pytest.mark.parametrize("login", [Login("me", "secret"), Login(identity_token="secret")])
def test_no_login_goes_over_plain_http_to_another_machine(login):
    """Where others can read it, the token is asked for anonymously."""
    request = TokenRequest.of(Challenge("bearer", {"realm": "http://auth.test/token"}), SCOPES, login)
    assert (request.method, dict(request.options)) == ("GET", {"params": {"scope": SCOPES}})


@pytest.mark.parametrize("url", ["https://auth.test/token", "http://127.0.0.1:5001/token", "http://localhost/token"])
def test_private_addresses(url):
    """TLS protects a login on its way; on this machine nobody else reads it."""
    assert is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.test/token",
        "http://127.0.0.1@auth.test/token",
        "http://auth.test\\@127.0.0.1/token",
        "https://auth.test\\@127.0.0.1/token",
        "ftp://127.0.0.1/token",
        "/token",
        "",
    ],
)
def test_addresses_that_are_not_private(url):
    """Plain http to another machine, and URLs that two programs read differently."""
    assert not is_private(url)


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "abc"}, "abc"),
        ({"access_token": "abc"}, "abc"),
        ({"token": "", "access_token": "abc"}, "abc"),
        ({"token": 7}, ""),
        ({"token": "two\nlines"}, ""),
        ({"token": "\u00e4"}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_answers(answer, token):
    """Only text that may be in a header is a token."""
    assert parse_token(answer) == token
