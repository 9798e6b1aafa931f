"""Where a registry may lead: to itself, over TLS to the public internet, and on this machine if it is here too."""

from __future__ import annotations

import pytest

from datapack.errors import ImageError
from datapack.registry import ImageName, RegistryClient, Repository
from datapack.registry.destination import Site, with_query
from tests import proxies
from tests.registry.pushing import log_in

REMOTE = Site(ImageName.parse("registry.test/reef:v1"), "https://registry.test")
PLAIN = Site(ImageName.parse("registry.test:5000/reef:v1"), "http://registry.test:5000")  # with --insecure
LOCAL = Site(ImageName.parse("127.0.0.1:5000/reef:v1"), "http://127.0.0.1:5000")
OWN, NEAR, PUBLIC = (True, False), (False, False), (False, True)  # own, public_only


@pytest.mark.parametrize(
    ("site", "location", "url", "kind"),
    [
        (REMOTE, "/v2/reef/blobs/uploads/1?state=x", "https://registry.test/v2/reef/blobs/uploads/1?state=x", OWN),
        (REMOTE, "1", "https://registry.test/v2/reef/blobs/uploads/1", OWN),
        (REMOTE, "https://registry.test:443/x", "https://registry.test:443/x", OWN),
        (REMOTE, "https://Registry.TEST/x", "https://Registry.TEST/x", OWN),
        (REMOTE, "http://registry.test/x", "https://registry.test/x", OWN),
        (REMOTE, "http://registry.test:80/x", "https://registry.test/x", OWN),
        (REMOTE, "https://registry.test:8443/x", "https://registry.test:8443/x", NEAR),
        (REMOTE, "https://storage.test/x?X-Sig=a%2Fb#part", "https://storage.test/x?X-Sig=a%2Fb", PUBLIC),
        (REMOTE, "//storage.test/x", "https://storage.test/x", PUBLIC),
        (PLAIN, "http://registry.test:5000/x", "http://registry.test:5000/x", OWN),
        (PLAIN, "https://registry.test:5000/x", "https://registry.test:5000/x", NEAR),
        (LOCAL, "http://127.0.0.1:9000/x", "http://127.0.0.1:9000/x", NEAR),
        (LOCAL, "http://localhost:9000/x", "http://localhost:9000/x", NEAR),
        (LOCAL, "http://[::1]:9000/x", "http://[::1]:9000/x", NEAR),
        (LOCAL, "https://10.0.0.1/x", "https://10.0.0.1/x", PUBLIC),  # which is not on the public internet
    ],
)
def test_where_a_registry_may_lead(site, location, url, kind):
    """The credential goes to the registry's own origin alone; what is elsewhere must be on the public internet."""
    found = site.follow(site.url("blobs/uploads/").url, location)
    assert (found.url, (found.own, found.public_only)) == (url, kind)


@pytest.mark.parametrize("site", [REMOTE, PLAIN, LOCAL])
@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://storage.test/x",
        "http://169.254.169.254/latest/meta-data",
        "http://registry.test.evil.test/x",
        "https://me:secret@storage.test/x",
        "https://registry.test@storage.test/x",
        "https://storage.test\\@registry.test/x",
        "https://[::1/x",
        "https://storage.test:port/x",
        "file:///etc/passwd",
        "ftp://registry.test/x",
        "https://storage.test/" + "x" * 10_000,
    ],
)
def test_where_no_registry_may_lead(site, location):
    """It is one line that shows no password and is not endless."""
    with pytest.raises(ImageError, match="the registry redirects to a place that is not allowed") as error:
        site.follow(site.url("blobs/uploads/").url, location)
    assert str(error.value).startswith(f"{site.name}: ")
    assert "secret" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("location", ["http://127.0.0.1:9000/x", "http://localhost/x", "http://[::1]/x"])
@pytest.mark.parametrize("site", [REMOTE, PLAIN])
def test_no_registry_elsewhere_leads_to_this_machine(site, location):
    """Over plain http not at all; over https the transport checks the address."""
    with pytest.raises(ImageError, match="a place that is not allowed"):
        site.follow(site.url("blobs/uploads/").url, location)
    assert site.follow(site.url("").url, location.replace("http:", "https:")).public_only


def test_a_query_is_added_to_a_query():
    """An upload's URL may have one already."""
    assert with_query("https://registry.test/x", {}) == "https://registry.test/x"
    assert (
        with_query("https://registry.test/x?a=1", {"digest": "sha256:0"})
        == "https://registry.test/x?a=1&digest=sha256%3A0"
    )


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/upload", "http://elsewhere.test/upload", "https://10.0.0.1/", "https://[fd00::1]/"],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_upload_that_leads_elsewhere(push_here, proxy, method, location):
    """No byte of the data goes there; the push ends with one line."""
    path = "uploads/" if method == "POST" else ""
    proxy.add(method, path, proxies.replace_header("Location", location), times=10**6)
    status, errors = push_here(proxy.name)
    assert status == 1
    (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
    assert "the registry redirects to a place that is not allowed" in line


def test_an_upload_to_another_port(catalog, registry, monkeypatch):
    """A registry on this machine may have its storage here too: that gets the bytes, no credential and no DELETE."""
    with proxies.Proxy(registry) as front, proxies.Proxy(registry) as storage:
        log_in(catalog, front.name)

        def lead(exchange: proxies.Exchange) -> None:
            status, headers, content = exchange.forward()
            headers = [
                (name, value.replace(registry, storage.name).replace(front.name, storage.name))
                for name, value in headers
            ]
            exchange.answer(status, headers, content)

        front.add("GET", "^/v2/reef/tags", proxies.refuse(401, headers={"WWW-Authenticate": "Basic"}), times=1)
        front.add("POST", "uploads/", lead, times=10**6)
        catalog.ok("push", "reef@v1", "--to", f"docker://{front.name}/reef")
        assert storage.sent > 3_000_000
        assert storage.requests["PATCH"]
        assert not storage.requests["DELETE"]
        assert not any("Authorization" in headers for headers in storage.headers)


@pytest.mark.parametrize("location", ["http://169.254.169.254/blob", "https://10.0.0.1/blob", "https://127.0.0.1/blob"])
def test_a_download_that_leads_elsewhere(catalog, proxy, location):
    """Only https to the public internet is followed. This registry is here, so this machine may be asked."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "/blobs/", proxies.answer(307, {"Location": location}), times=10**6)
    error = catalog.fails("verify", f"docker://{proxy.name}/reef:v1")
    assert "the registry redirects to a place that is not allowed" in error or "can't be reached" in error


def test_a_download_that_leads_in_a_circle(catalog, proxy):
    """It ends with one line."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "/blobs/", proxies.answer(302, {"Location": "/v2/reef/blobs/sha256:0"}), times=10**6)
    assert "found HTTP 302 Found" in catalog.fails("verify", f"docker://{proxy.name}/reef:v1")


def test_no_password_of_netrc(catalog, proxy):
    """~/.netrc is for other programs."""
    netrc = catalog.root.parent / "home/.netrc"
    netrc.write_text("machine 127.0.0.1 login me password a-secret\n")
    netrc.chmod(0o600)
    proxy.add("POST", "uploads/", proxies.refuse(401, headers={"WWW-Authenticate": "Basic"}), times=1)
    catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert proxy.headers
    assert not any("Authorization" in headers for headers in proxy.headers)


def test_a_password_that_is_asked_for_over_plain_http(catalog, proxy):
    """It is not sent, not even with --insecure, and the error says why."""
    log_in(catalog, proxy.name)
    challenge = {"WWW-Authenticate": 'Bearer realm="http://auth.test/token"'}
    proxy.add("POST", "uploads/", proxies.refuse(401, headers=challenge), times=10**6)
    proxy.add("GET", "uploads/", proxies.refuse(401, headers=challenge), times=10**6)
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert "it asks for the password over plain http (auth.test:80), where datapack sends none" in error


def test_a_token_service_that_leads_elsewhere(catalog, registry):
    """A redirect of the request for a token is not followed: it would have the password sent there."""
    with proxies.Proxy(registry) as service, proxies.Proxy(registry) as elsewhere:
        log_in(catalog, service.name)
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{service.name}/token"'}
        service.add("POST", "uploads/", proxies.refuse(401, headers=challenge), times=10**6)
        service.add("GET", "/token", proxies.answer(307, {"Location": f"http://{elsewhere.name}/token"}), times=10**6)
        assert "found HTTP 401" in catalog.fails("push", "reef@v1", "--to", f"docker://{service.name}/reef")
        assert not elsewhere.headers


def test_an_anonymous_client_has_no_credential(registry, catalog, monkeypatch):
    """The question whether everybody can read is asked as everybody would."""
    for name, value in catalog.env.items():
        monkeypatch.setenv(name, value)
    with proxies.Proxy(registry) as proxy:
        log_in(catalog, proxy.name)
        proxy.add("GET", "tags", proxies.refuse(401, headers={"WWW-Authenticate": "Basic"}), times=10**6)
        proxy.add("HEAD", "blobs", proxies.refuse(401, headers={"WWW-Authenticate": "Basic"}), times=10**6)
        client = RegistryClient(ImageName.parse(f"{proxy.name}/reef"), anonymous=True)
        assert not Repository(client).lets_read("sha256:" + "0" * 64)
        assert not any("Authorization" in headers for headers in proxy.headers)
