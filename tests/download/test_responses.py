"""What a web server's response means. The requests themselves are tested in test_downloader."""

import email.utils
import time
from types import SimpleNamespace

import pytest

from datapack.download.responses import RefusedError, parse_retry_after, redirect_target


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 99 Foo 1999", None),
    ],
)
def test_retry_after(value, seconds):
    """The header has seconds or a date; a past date means now; anything else is ignored."""
    assert parse_retry_after(value) == seconds


def test_retry_after_by_date():
    """A date is converted to seconds from now."""
    assert 58 < parse_retry_after(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60


def redirect(location, *chain, status=302):
    response = SimpleNamespace(status=status, headers={"Location": location})
    return redirect_target(response, chain)


def test_redirects_are_relative_to_their_url():
    """Absolute redirects work too; the fragment after # is dropped."""
    assert redirect("../b c.png#x", "https://x.org/a/a.png") == "https://x.org/b%20c.png"
    assert redirect("//y.org/b", "http://x.org/a") == "http://y.org/b"
    assert redirect("https://x.org/a", "http://x.org/a") == "https://x.org/a"
    assert redirect("/b", "http://x.org/a", status=200) is None


def test_a_redirect_may_be_in_utf_8():
    """Some servers write letters into the header that they should have quoted."""
    assert redirect("/ö.png".encode().decode("latin-1"), "http://x.org/a") == "http://x.org/%C3%B6.png"


def test_redirect_never_leaves_https():
    """A request that started over TLS never continues without it."""
    with pytest.raises(RefusedError, match="a redirect from https to http"):
        redirect("http://x.org/a", "https://x.org/a")


def test_at_most_ten_redirects_are_followed():
    """The eleventh redirect is refused."""
    chain = [f"http://x.org/{number}" for number in range(11)]
    assert redirect("/next", *chain[:10])
    with pytest.raises(RefusedError, match="over 10 redirects"):
        redirect("/next", *chain)
