"""Where a redirect may lead, and which URLs are never requested."""

import pytest

from datapack.urls import host_of, is_public
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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_never_requested_unless_it_is_named(server, tmp_path, host):
    """Neither as the first URL of a file nor as a later one; not even a connection is opened."""
    accepted = []
    accept = server._http.get_request
    server._http.get_request = lambda: accepted.append(1) or accept()
    url = server.url.replace("127.0.0.1", host) + "/a.png"
    for urls in ([url], ["http://nowhere.invalid/a.png", url]):
        failure = fetch(tmp_path / "a.png", *urls, fetcher=downloader(is_public=is_public, tries=1))
        assert (failure.reason, failure.definite) == ("a private address that the catalog does not name", False)
    assert not accepted


def test_a_redirect_to_a_private_address_is_refused_unless_it_is_named(tmp_path):
    """The private host gets no request; the host that redirects may be public or named."""
    with Server() as named, Server({"/secret.png": Reply(png())}, host="127.0.0.2") as private:
        named.reply("/a.png", redirect(f"{private.url}/secret.png"))
        hosts = {host_of(named.url)}
        failure = fetch(tmp_path / "a.png", f"{named.url}/a.png", fetcher=downloader(is_public=is_public), named=hosts)
        assert (failure.reason, failure.definite) == ("a redirect to a private address", False)
        assert not private.requests
        hosts |= {host_of(private.url)}
        assert not fetch(tmp_path / "a.png", f"{named.url}/a.png", fetcher=downloader(is_public=is_public), named=hosts)


def test_another_port_of_a_named_host_is_not_named(server, tmp_path):
    """A catalog that names its own server does not open every other service on that machine."""
    with Server({"/secret.png": Reply(png())}) as other:
        server.reply("/a.png", redirect(f"{other.url}/secret.png"))
        fetcher = downloader(is_public=is_public)
        failure = fetch(tmp_path / "a.png", f"{server.url}/a.png", fetcher=fetcher, named={host_of(server.url)})
        assert failure.reason == "a redirect to a private address"
        assert not other.requests


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
