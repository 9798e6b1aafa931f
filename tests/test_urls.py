"""URLs: which ones may be requested, how they are quoted, and how they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.urls import UrlError, check_url, hide_secrets, host_of, is_public, mirror_urls, quote_url, strip_signature


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("https://x.org/Doc%20Ricketts/1.png", "https://x.org/Doc%20Ricketts/1.png"),
        (" https://x.org/Doc Ricketts/ö.png\n", "https://x.org/Doc%20Ricketts/%C3%B6.png"),
        ("http://x.org:8080/a?b=c&d=%2F#e", "http://x.org:8080/a?b=c&d=%2F#e"),
        ("http://[2001:db8::1]/a", "http://[2001:db8::1]/a"),
    ],
)
def test_only_what_a_request_cannot_contain_is_quoted(url, requested):
    """What is quoted already stays the same; spaces and non-ASCII characters are quoted."""
    assert check_url(url) == requested


@given(st.text())
def test_quoting_twice_is_quoting_once(text):
    """A URL that went through the bag's fetch.txt is still the same."""
    assert quote_url(quote_url(text)) == quote_url(text)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "//x.org/a",
        "file:///etc/passwd",
        "ftp://x.org/a",
        "http://",
        "http://:80/a",
        "http://x.org:port/a",
        "http://[::1/a",
        "http://u:p@x.org/a",
        "http://u@x.org/a",
        "http://x y.org/a",
        "javascript:alert(1)",
    ],
)
def test_url_that_must_not_be_requested_is_refused(url):
    """Other schemes, missing hosts, user names and passwords are refused."""
    with pytest.raises(UrlError):
        check_url(url)


def test_password_is_not_shown():
    """The user name and the password are removed; the rest stays."""
    assert hide_secrets("https://user:s3cret@x.org:8080/a?b=c") == "https://x.org:8080/a?b=c"
    assert "s3cret" not in hide_secrets("http://user:s3cret@[::1")


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("?a=1", "?a=1"),
        ("", ""),
        ("?", "?"),
        ("?a=1&a=2&b&&c=%20", "?a=1&a=2&b&&c=%20"),
        ("?X-Amz-Algorithm=x&X-Amz-Credential=AKIA%2Fx&X-Amz-Date=x&X-Amz-Expires=60&X-Amz-Signature=s3cret", ""),
        ("?versionId=3&X-Amz-Signature=s3cret&X-Amz-Security-Token=s3cret#x", "?versionId=3#x"),
        ("?x-goog-signature=s3cret&generation=7", "?generation=7"),
        ("?AWSAccessKeyId=AKIA&Signature=s3cret&Expires=17&response-content-type=a", "?response-content-type=a"),
        ("?Expires=17&Policy=s3cret&Signature=s3cret&Key-Pair-Id=K", ""),
        ("?sv=2020&sr=b&sp=r&se=2030&st=x&spr=https&sig=s3cret%3D&comp=list", "?comp=list"),
        ("?sv=2020&sr=b&expires=never", "?sv=2020&sr=b&expires=never"),
        ("?alt=media&token=s3cret", "?alt=media"),
        ("?access_token=s3cret", ""),
        ("?%73ig=s3cret", ""),
        ("?SIG=s3cret", ""),
        ("?X-Amz-Signature", ""),
        ("?tokens=3&sigma=2&policyholder=x", "?tokens=3&sigma=2&policyholder=x"),
        ("?page=1?sig=s3cret", "?page=1?sig=s3cret"),
    ],
)
def test_a_signature_is_neither_shown_nor_recorded(query, kept):
    """Only what gives access goes; every other part of the query stays exactly as it is."""
    assert strip_signature(f"https://x.org/a{query}") == f"https://x.org/a{kept}"
    assert hide_secrets(f"https://me:s3cret@x.org/a{query}") == f"https://x.org/a{kept}".removesuffix("?")


def test_host_is_name_and_port():
    """The default port of the scheme is added."""
    assert [host_of(text) for text in ("https://X.org/a", "http://x.org/a", "http://x.org:81/")] == [
        "x.org:443",
        "x.org:80",
        "x.org:81",
    ]


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("https://a.org/x/1", ("https://a.org/x/1", "https://b.org/x/1")),
        ("https://a.org", ("https://a.org", "https://b.org")),
        ("https://a.org?x", ("https://a.org?x", "https://b.org?x")),
        ("https://a.org/deep/1", ("https://c.org/1",)),
        ("https://a.org.evil/1", ("https://a.org.evil/1",)),
        ("https://a.org:8443/1", ("https://a.org:8443/1",)),
        ("http://a.org/1", ("http://a.org/1",)),
    ],
)
def test_mirrors_replace_the_longest_prefix(url, urls):
    """All mirrors are tried in order; the original only if it is listed."""
    mirrors = {"https://a.org": ["https://a.org", "https://b.org"], "https://a.org/deep/": ["https://c.org/"]}
    assert mirror_urls(url, mirrors) == urls


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::1", True),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::169.254.169.254", False),
        ("64:ff9b:1::8.8.8.8", False),
        ("::8.8.8.8", False),
        ("::127.0.0.1", False),
        ("::ffff:0:8.8.8.8", False),
        ("::ffff:169.254.169.254", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("100::1", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("fd20:ce::254", False),
        ("ff02::1", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("0.1.2.3", False),
        ("172.32.0.1", True),
        ("2a00:1450:4001::1", True),
    ],
)
def test_which_ip_addresses_are_public(ip, public):
    """Loopback, private, link-local, shared, multicast, reserved and clouds' addresses are not, in any notation."""
    assert is_public(ip) is public
