"""Where a redirect may lead, and which URLs are never requested."""

import pytest

from tests.download.downloading import downloader, fetch, left
from tests.servers import Reply, Server, png, redirect


def test_redirects_are_followed(server, tmp_path):
    """A relative and an absolute redirect lead to the file."""
    server.reply("/a.png", redirect("b/c.png", 301))
    server.reply("/b/c.png", redirect(f"{server.url}/d.png?x=1#part", 307))
    server.reply("/d.png?x=1", Reply(png()))
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png") is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/a.png", "redirects in a circle"),
        ("/b.png", "redirects in a circle"),
        ("/far/0", "over 10 redirects"),
        ("file:///etc/passwd", "an invalid redirect: not an http or https URL"),
        ("ftp://127.0.0.1/a.png", "an invalid redirect: not an http or https URL"),
        ("http://user:secret@127.0.0.1/a.png", "an invalid redirect: a URL with a user name or password"),
        ("", "a redirect without a target"),
    ],
)
def test_invalid_redirect_fails_at_once(server, tmp_path, target, reason):
    """The failure names the reason and is not definite, as it does not show that the file is missing."""
    server.reply("/a.png", redirect(target))
    server.reply("/b.png", redirect("/a.png"))
    for number in range(20):
        server.reply(f"/far/{number}", redirect(f"/far/{number + 1}"))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert (failure.reason, failure.definite) == (reason, False)
    assert server.requests["/a.png"] == 1


def test_redirect_from_a_public_to_a_private_address_is_refused(tmp_path):
    """The private host gets no request. Here 127.0.0.1 counts as public and 127.0.0.2 as private."""
    with Server() as public, Server({"/secret.png": Reply(png())}, host="127.0.0.2") as private:
        public.reply("/a.png", redirect(f"{private.url}/secret.png"))
        fetcher = downloader(is_public=lambda ip: ip == "127.0.0.1")
        failure = fetch(tmp_path / "a.png", f"{public.url}/a.png", fetcher=fetcher)
        assert failure.reason == "a redirect to a private address"
        assert not private.requests
        assert fetch(tmp_path / "a.png", f"{private.url}/secret.png", fetcher=fetcher) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_redirect_to_a_loopback_address_is_refused_at_the_connection(server, tmp_path, host):
    """The address of the connection itself is checked, so a host name does not get around the rule."""
    server.reply("/a.png", redirect(server.url.replace("127.0.0.1", host) + "/b.png"))
    fetcher = downloader()
    fetcher.web.is_private = lambda url: False  # as if the catalog's own host were public
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png", fetcher=fetcher).reason == "a redirect to a private address"
    assert server.requests == {"/a.png": 1}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.png", "a.png", "http://", "http://[::1"])
def test_only_web_urls_are_requested(tmp_path, url):
    """Anything else fails at once and is never opened."""
    failure = fetch(tmp_path / "a.png", url)
    assert "URL" in failure.reason
    assert left(tmp_path) == []


def test_password_in_a_url_is_never_shown(tmp_path):
    """Such a URL is not requested, as it would end up in the bag, and no message shows the password."""
    failure = fetch(tmp_path / "a.png", "http://user:secret@127.0.0.1/a.png")
    assert failure.reason == "a URL with a user name or password"
    assert failure.answers[0].url == "http://127.0.0.1/a.png"
