"""Which certificates are trusted."""

import ssl

import pytest

from datapack.web import SettingError, UntrustedError, Web
from datapack.web.certificates import Authorities, find_authorities
from tests.registries import self_signed
from tests.servers import RawServer, read_head

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def answer(connection):
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_each_variable_names_the_trusted_certificates(variable, tmp_path, monkeypatch):
    """A certificate that the system does not know is trusted once a variable names it, and only then."""
    certificate = self_signed(tmp_path)
    with RawServer(answer, certificate) as server:
        with pytest.raises(UntrustedError, match="untrusted certificate"):
            Web(timeout=5.0).request("GET", server.url)
        monkeypatch.setenv(variable, str(certificate[0]))
        with Web(timeout=5.0).request("GET", server.url) as response:
            assert response.read() == b"ok"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_folder_of_certificates(variable, tmp_path, monkeypatch):
    """Its files have the names that ``openssl rehash`` gives."""
    import subprocess

    certificate = self_signed(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ours.pem").write_bytes(certificate[0].read_bytes())
    subprocess.run(["openssl", "rehash", folder], check=True)
    monkeypatch.setenv(variable, str(folder))
    with RawServer(answer, certificate) as server, Web(timeout=5.0).request("GET", server.url) as response:
        assert response.read() == b"ok"


def test_a_certificate_of_another_host_is_untrusted(tmp_path, monkeypatch):
    """The name counts, although the connection goes to an address that was looked up before."""
    certificate = self_signed(tmp_path, "127.0.0.9")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with RawServer(answer, certificate) as server, pytest.raises(UntrustedError) as error:
        Web(timeout=5.0).request("GET", server.url)
    assert "mismatch" in error.value.why


def test_without_verification_any_certificate_will_do(tmp_path):
    """As for a registry with --insecure."""
    with RawServer(answer, self_signed(tmp_path)) as server, Web(verify=False).request("GET", server.url) as response:
        assert response.read() == b"ok"


def test_the_order_of_the_variables():
    """What DVC and kagglehub read comes first, then OpenSSL's variables."""
    environment = {name: f"/{name}" for name in VARIABLES}
    found = []
    for name in VARIABLES:
        found.append(find_authorities(environment))
        del environment[name]
    assert found == [
        Authorities("/REQUESTS_CA_BUNDLE", "", "REQUESTS_CA_BUNDLE"),
        Authorities("/CURL_CA_BUNDLE", "", "CURL_CA_BUNDLE"),
        Authorities("/SSL_CERT_FILE", "/SSL_CERT_DIR", "SSL_CERT_FILE"),
        Authorities("", "/SSL_CERT_DIR", "SSL_CERT_DIR"),
    ]
    assert find_authorities({}).variable == ""


def test_a_system_without_certificates_gets_certifis(monkeypatch):
    """As in some small containers."""
    import certifi

    monkeypatch.setattr("datapack.web.certificates._SYSTEM_FILES", ())
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: ssl.DefaultVerifyPaths(None, None, "", "", "", ""))
    assert find_authorities({}) == Authorities(certifi.where())


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_unusable_file_is_one_clear_line(content, tmp_path, monkeypatch):
    """It names the variable and the file."""
    path = tmp_path / "ca.pem"
    if content:
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(SettingError, match=f"^SSL_CERT_FILE: {path}: the certificates can't be read"):
        Web().request("GET", "https://127.0.0.1:1/")
