"""Which proxy a request goes through."""

import pytest

from datapack.web.errors import SettingError
from datapack.web.proxies import Proxy, ProxyRules

P, Q = "http://p.example:3128", "http://q.example:3128"


@pytest.mark.parametrize(
    ("environment", "plain", "secure"),
    [
        ({}, None, None),
        ({"http_proxy": P}, P, None),
        ({"HTTPS_PROXY": P}, None, P),
        ({"https_proxy": P, "HTTPS_PROXY": Q}, None, P),
        ({"https_proxy": "", "HTTPS_PROXY": Q}, None, None),
        ({"ALL_PROXY": P}, P, P),
        ({"all_proxy": P, "HTTPS_PROXY": Q}, P, Q),
        ({"ALL_PROXY": "socks5://s.example:1080", "HTTPS_PROXY": Q, "HTTP_PROXY": Q}, Q, Q),
        ({"ALL_PROXY": "p.example:3128"}, P, P),
    ],
)
def test_the_most_specific_variable_decides(environment, plain, secure):
    """The scheme's own variable comes before ALL_PROXY, lower case before upper case, and empty means none."""
    rules = ProxyRules.of(environment)
    found = [rules.find(f"{scheme}://x.org/a") for scheme in ("http", "https")]
    assert found == [proxy and Proxy(proxy) for proxy in (plain, secure)]


@pytest.mark.parametrize(
    ("entry", "url", "exempt"),
    [
        ("*", "http://x.org/", True),
        ("x.org", "http://x.org/", True),
        ("X.ORG", "http://x.org/", True),
        ("x.org", "http://x.org./", True),
        ("x.org", "http://a.x.org/", True),
        (".x.org", "http://a.x.org/", True),
        (".x.org", "http://x.org/", True),
        ("*.x.org", "http://a.x.org/", True),
        ("x.org", "http://ax.org/", False),
        ("x.org", "http://x.org.evil/", False),
        ("x.org:80", "http://x.org/", True),
        ("x.org:443", "https://x.org/", True),
        ("x.org:443", "http://x.org/", False),
        ("x.org:5000", "http://x.org:5000/", True),
        ("x.org:5000", "http://x.org/", False),
        ("10.1.2.3", "http://10.1.2.3/", True),
        ("10.1.2.3:81", "http://10.1.2.3/", False),
        ("10.1.2.3:81", "http://10.1.2.3:81/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.1.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/16", "http://10.1.2.3/", False),
        ("10.0.0.0/8", "http://x.org/", False),
        ("10.0.0.0/99", "http://10.1.2.3/", False),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("fd00::1", "http://[fd00:0::1]/", True),
        ("[fd00::1]", "http://[fd00::1]/", True),
        ("[fd00::1]:5000", "http://[fd00::1]:5000/", True),
        ("[fd00::1]:5000", "http://[fd00::1]/", False),
        ("a.org, b.org x.org", "http://x.org/", True),
        (",,", "http://x.org/", False),
        (".", "http://x.org/", False),
        ("", "http://x.org/", False),
        ("", "http://localhost:5000/", True),
        ("", "http://127.0.0.2/", True),
        ("", "http://[::1]:5000/", True),
    ],
)
def test_which_hosts_need_no_proxy(entry, url, exempt):
    """NO_PROXY has hosts, domains, ports, addresses and ranges; this machine itself never needs a proxy."""
    rules = ProxyRules.of({"ALL_PROXY": P, "NO_PROXY": entry})
    assert (rules.find(url) is None) is exempt


@pytest.mark.parametrize(
    ("value", "found"),
    [("socks5h://s.example:1080", "found socks5h"), ("http://:3128", "not the URL"), ("http://p:99999", "not the URL")],
)
def test_a_proxy_that_cant_be_used_is_one_clear_line(value, found):
    """It names the variable, and shows no password."""
    with pytest.raises(SettingError, match=f"^ALL_PROXY: .*{found}"):
        ProxyRules.of({"ALL_PROXY": value})


def test_a_proxys_password_is_kept_apart():
    """The URL without it may be shown."""
    assert ProxyRules.of({"ALL_PROXY": "http://me:s3%40cret@p:1"}).find("http://x.org") == Proxy(
        "http://p:1", "me:s3%40cret"
    )
