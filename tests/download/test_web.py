"""What a web server's answer means. How real ones are asked is in test_download."""

import email.utils
import time

import pytest
from urllib3 import HTTPResponse

from datapack.download.web import RefusedError, parse_retry_after, redirect_target


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
    """Seconds or a date; a date that has passed is now; what is neither says nothing."""
    assert parse_retry_after(value) == seconds


def test_retry_after_by_date():
    """Counted from now."""
    assert 58 < parse_retry_after(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60


def redirect(location, *asked):
    return redirect_target(HTTPResponse(status=302, headers={"Location": location}), asked)


def test_redirects_lead_from_where_they_stand():
    """Relative ones too; what is behind # is not asked for."""
    assert redirect("../b c.png#x", "https://x.org/a/a.png") == "https://x.org/b%20c.png"
    assert redirect("//y.org/b", "http://x.org/a") == "http://y.org/b"
    assert redirect("https://x.org/a", "http://x.org/a") == "https://x.org/a"
    assert redirect_target(HTTPResponse(status=200, headers={"Location": "/b"}), ["http://x.org/a"]) is None


def test_a_redirect_never_leaves_https():
    """What was asked in secret is not asked in the open."""
    with pytest.raises(RefusedError, match="a redirect from https to http"):
        redirect("http://x.org/a", "https://x.org/a")


def test_ten_redirects_are_followed_and_no_more():
    """A chain that long leads nowhere."""
    chain = [f"http://x.org/{number}" for number in range(11)]
    assert redirect("/next", *chain[:10])
    with pytest.raises(RefusedError, match="over 10 redirects"):
        redirect("/next", *chain)
