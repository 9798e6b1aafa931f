"""Where a redirect may lead, and which addresses are never asked."""

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
        ("file:///etc/passwd", "a redirect to not an http or https address"),
        ("ftp://127.0.0.1/a.png", "a redirect to not an http or https address"),
        ("http://user:secret@127.0.0.1/a.png", "a redirect to an address with a user name or password in it"),
        ("", "a redirect that leads nowhere"),
    ],
)
def test_redirects_that_must_not_be_followed(server, tmp_path, target, reason):
    """They end at once, with the reason, and are no proof that the file does not exist."""
    server.reply("/a.png", redirect(target))
    server.reply("/b.png", redirect("/a.png"))
    for number in range(20):
        server.reply(f"/far/{number}", redirect(f"/far/{number + 1}"))
    failure = fetch(tmp_path / "a.png", f"{server.url}/a.png")
    assert (failure.reason, failure.definite) == (reason, False)
    assert server.asked["/a.png"] == 1


def test_a_redirect_from_the_open_internet_to_a_private_address_is_refused(tmp_path):
    """The private host is not asked. 127.0.0.1 stands for a public address here, 127.0.0.2 for a private one."""
    with Server() as public, Server({"/secret.png": Reply(png())}, host="127.0.0.2") as private:
        public.reply("/a.png", redirect(f"{private.url}/secret.png"))
        fetcher = downloader(is_public=lambda number: number == "127.0.0.1")
        failure = fetch(tmp_path / "a.png", f"{public.url}/a.png", fetcher=fetcher)
        assert failure.reason == "a redirect to a private address"
        assert not private.asked
        assert fetch(tmp_path / "a.png", f"{private.url}/secret.png", fetcher=fetcher) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_to_a_loopback_address_is_refused_by_the_rule_itself(server, tmp_path, host):
    """The rule looks at the address that a connection has, so a name for it does not help."""
    server.reply("/a.png", redirect(server.url.replace("127.0.0.1", host) + "/b.png"))
    fetcher = downloader()
    fetcher.web.is_private = lambda address: False  # as if the catalog's own host were public
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png", fetcher=fetcher).reason == "a redirect to a private address"
    assert server.asked == {"/a.png": 1}


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://example.org/a.png", "a.png", "http://", "http://[::1"]
)
def test_only_web_addresses_are_asked(tmp_path, address):
    """Anything else is a failure that no second try would mend, and is never opened."""
    failure = fetch(tmp_path / "a.png", address)
    assert "address" in failure.reason
    assert left(tmp_path) == []


def test_a_password_in_an_address_is_never_shown(tmp_path):
    """Such an address is not asked, since it would end in the bag, and no message has its password."""
    failure = fetch(tmp_path / "a.png", "http://user:secret@127.0.0.1/a.png")
    assert failure.reason == "an address with a user name or password in it"
    assert failure.answers[0].address == "http://127.0.0.1/a.png"
