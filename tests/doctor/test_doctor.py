"""Doctor: every check says what is here, and what to do where something is not right; none can hold up the others."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from datapack.catalog.sources import UrlSource
from datapack.doctor import examine, sources
from tests import registries
from tests.conftest import PROJECT, make_base
from tests.registries import PASSWORD, USER
from tests.registry.pushing import log_in

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def catalog(catalog, tmp_path):
    """A catalog whose user has no credentials and no engine."""
    home = tmp_path / "home"
    home.mkdir()
    catalog.env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "DOCKER_HOST": "unix:///nowhere.sock"}
    edit(catalog, "ghcr.io/example", "127.0.0.1:1/example")  # nothing listens there
    return catalog


def edit(catalog, old: str, new: str) -> None:
    path = catalog.root / "datasets.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def results(catalog, *options: str, status: int = 0) -> dict[str, dict[str, str]]:
    """Run doctor; return what it says as JSON, by the name of each check."""
    done = catalog.run("doctor", "--json", *options)
    assert (done.returncode, done.stderr) == (status, "")
    return {result["check"]: result for result in json.loads(done.stdout)["results"]}


def git(catalog, *arguments: str) -> None:
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *names, *arguments], cwd=catalog.root, check=True, capture_output=True)


def test_a_line_per_check_and_a_next_step_where_one_is_needed(catalog):
    """Each line has a mark, a check and what was found; each that is not ok has a next step below."""
    done = catalog.run("doctor")
    assert done.returncode == 0, done.stdout
    *lines, last = done.stdout.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith(" "):
            mark, check, found = line.split(maxsplit=2)
            assert mark in {"ok", "note"}
            assert check
            assert found
            assert following.startswith(f"{'':19}-> ") == (mark != "ok")
    assert last.endswith(", 0 problems")


def test_quiet_shows_only_what_is_not_right(catalog):
    """With -q, what is ok has no line."""
    marks = {line.split()[0] for line in catalog.ok("doctor", "-q").splitlines()[:-1]}
    assert marks == {"note", "->"}


def test_outside_a_workspace_with_nothing_installed(tmp_path):
    """Without a catalog, git, an engine or a home, doctor answers at once and says how to start."""
    environment = {"PATH": "/nowhere", "HOME": "/nowhere", "PYTHONPATH": str(PROJECT), "LC_ALL": "C.UTF-8"}
    environment["DOCKER_HOST"] = "unix:///nowhere.sock"
    command = [sys.executable, "-m", "datapack", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert "note     catalog   no datasets.yml" in done.stdout
    assert "-> run 'datapack init' to start one" in done.stdout
    assert "note     git       not installed" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["pydantic", "docker", "urllib3", "configobj"])
def test_a_missing_package_does_not_end_doctor(catalog, module):
    """A check that needs a package that can't be imported says so; the others do their work."""
    code = f"import sys; sys.modules[{module!r}] = None; from datapack.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code], **catalog.options(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert not done.stderr
    assert f"import of {module} halted" in done.stdout
    assert "ok       python" in done.stdout


@pytest.mark.parametrize("setting", ["registry", "base", "engine"])
def test_what_never_answers_is_reported_in_time(catalog, monkeypatch, setting):
    """A server that accepts a connection and says nothing keeps only its own check waiting."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        if setting == "registry":
            edit(catalog, "127.0.0.1:1/example", f"{name}/example")
        elif setting == "base":
            edit(catalog, '"oci:base"', f'"{name}/x:1@{DIGEST}"')
        for key, value in catalog.env.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{name}" if setting == "engine" else "unix:///nowhere.sock")
        start = time.monotonic()
        found = {result.check: result for result in examine(catalog.root, patience=1.5)}
        took = time.monotonic() - start
    assert found[setting].mark == "note"
    assert found[setting].found == "no answer within 1.5 s"
    assert found["python"].mark == "ok"
    assert took < 6


@pytest.mark.parametrize(
    "host", ["foo", "ssh://127.0.0.1:1", "tcp://127.0.0.1:1", "unix://", "http://[::1", "tcp://a\nb"]
)
def test_an_engine_at_no_address(catalog, host):
    """Whatever DOCKER_HOST is, that no engine answers there is a note in one line."""
    catalog.env["DOCKER_HOST"] = host
    found = results(catalog)["engine"]
    assert (found["mark"], "DOCKER_HOST" in found["found"] + found["fix"]) == ("note", True)


@pytest.mark.skipif(Path("/var/run/docker.sock").exists(), reason="an engine answers at the usual socket")
@pytest.mark.parametrize(
    ("program", "script", "mark", "text"),
    [
        ("podman", "echo podman version 5.4.0", "ok", "podman version 5.4.0; 'datapack run' starts its API service"),
        ("podman", "exit 125", "note", "run 'podman --version': it says why"),
        ("dockerd", "", "note", "sudo systemctl start docker"),
        ("other", "", "note", "install podman or Docker"),
    ],
)
def test_how_to_start_what_is_installed(catalog, tmp_path, program, script, mark, text):
    """Without DOCKER_HOST and without an answer, the next step is that of the engine that is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    (folder / "sh").symlink_to("/bin/sh")
    catalog.env["DOCKER_HOST"] = ""
    catalog.env["PATH"] = str(folder)
    found = results(catalog)["engine"]
    assert found["mark"] == mark
    assert text in f"{found['found']} {found['fix']}"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ('{"auths": {"127.0.0.1:1": {"auth": "c2VjcmV0"}}}', "is not base64 of USER:PASSWORD"),
        ('{"credsStore": "nope"}', "docker-credential-nope"),
        ("{", "no JSON"),
    ],
)
def test_a_damaged_login_is_a_problem(catalog, settings, found):
    """What `docker login` left and nobody can read is named, and the other checks do their work."""
    path = catalog.root.parent / "home/.docker/config.json"
    path.parent.mkdir()
    path.write_text(settings)
    assert found in results(catalog, status=1)["registry"]["found"]


def test_no_secret_is_shown(catalog):
    """Passwords in the environment, in DVC's settings and in credentials are in no line, with -v and as JSON."""
    secrets = [f"secret-{number}" for number in range(5)]
    catalog.ok("fetch", "reef@v1")
    remote = f"['remote \"far\"']\n    url = https://me:{secrets[0]}@127.0.0.1:1/x\n"
    (catalog.root / ".dvc/config").write_text(f"[core]\n    no_scm = True\n    remote = far\n{remote}")
    catalog.env |= {
        "HTTPS_PROXY": f"http://me:{secrets[1]}@127.0.0.1:1",
        "DOCKER_HOST": f"tcp://me:{secrets[2]}@127.0.0.1:1",
        "KAGGLE_API_TOKEN": secrets[3],
    }
    log_in(catalog, "127.0.0.1:1", password=secrets[4])
    edit(catalog, "- local: source", "- {kaggle: a/b, files: [x]}\n          - local: source")
    shown = catalog.run("doctor", "-v").stdout + catalog.run("doctor", "--json").stdout
    assert "https through http://127.0.0.1:1" in shown
    assert "default remote far" in shown
    assert "a credential in KAGGLE_API_TOKEN" in shown
    for secret in secrets:
        assert secret not in shown


def test_an_invalid_catalog_is_a_problem(catalog):
    """The error of the catalog is shown, and doctor exits with 1."""
    edit(catalog, "licence", "license")
    found = results(catalog, status=1)["catalog"]
    assert (found["mark"], found["fix"]) == ("problem", "did you mean 'licence'?")
    assert "datasets.yml:5" in found["found"]


def test_a_source_that_needs_more(catalog):
    """A Kaggle source without a credential is a problem, unless its version is here; without such a source: no line."""
    assert "kaggle" not in results(catalog)
    edit(catalog, "- local: source", "- {kaggle: a/b, files: [x]}")
    found = results(catalog, status=1)["kaggle"]
    assert found["mark"] == "problem"
    assert "KAGGLE_API_TOKEN" in found["fix"]
    (catalog.root / "data/reef/v1").mkdir(parents=True)
    assert results(catalog)["kaggle"]["mark"] == "note"


def test_git_keeps_the_catalog_and_the_lock(catalog):
    """Doctor says what is not a repository, not committed, or ignored although others need it."""
    assert results(catalog)["git"]["found"].startswith("not a repository")
    git(catalog, "init", "-q")
    catalog.ok("fetch", "reef@v1")
    found = results(catalog)["git"]
    assert found["found"] == "git does not ignore .datapack"
    (catalog.root / ".gitignore").write_text("/.datapack/\n")
    found = results(catalog)["git"]
    assert found["found"].startswith("not committed: .dvc/.gitignore, .dvc/config, .gitignore and 4 more")
    subprocess.run(found["fix"].partition(" && ")[0], shell=True, cwd=catalog.root, check=True)
    git(catalog, "commit", "-qm", "x")
    assert results(catalog)["git"]["mark"] == "ok"
    (catalog.root / "datasets.lock").write_text((catalog.root / "datasets.lock").read_text() + "\n")
    assert results(catalog)["git"]["found"] == "not committed: datasets.lock"
    git(catalog, "rm", "-q", "--cached", "datasets.lock")
    (catalog.root / ".gitignore").write_text("/.datapack/\n*.lock\n")
    assert results(catalog, status=1)["git"]["found"] == "git ignores datasets.lock"


def test_dvc_needs_settings_that_it_can_work_with(catalog):
    """No remote is a note, a remote is ok, and settings with which no bag can be kept are a problem."""
    catalog.ok("fetch", "reef@v1")
    assert results(catalog)["dvc"]["mark"] == "note"
    config = catalog.root / ".dvc/config"
    config.write_text("[core]\n    no_scm = True\n    remote = there\n")
    assert results(catalog)["dvc"]["found"].endswith("default remote there")
    config.write_text("[cache]\n    local = elsewhere\n")
    assert "cache.local is not supported" in results(catalog, status=1)["dvc"]["found"]


def test_a_disk_that_is_full_is_a_problem(catalog, monkeypatch):
    """With almost no space left nothing can be fetched."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    found = {result.check: result for result in examine(catalog.root)}["disk"]
    assert (found.mark, found.found) == ("problem", f"1 kB free in {catalog.root}")


def test_links_are_tried_and_nothing_is_left(catalog):
    """The disk of the tests supports hard links; the files that showed it are gone."""
    before = sorted(catalog.root.rglob("*"))
    assert "hard links" in results(catalog)["links"]["found"]
    assert sorted(catalog.root.rglob("*")) == before


@pytest.mark.parametrize("is_cached", [False, True])
def test_offline(catalog, tmp_path, is_cached):
    """Without a network, a base that is not cached is a problem: nothing can be built. The rest is to be noted."""
    digest = make_base(tmp_path / "other")
    edit(catalog, '"oci:base"', f'"127.0.0.1:1/x:1@{digest}"')
    if is_cached:
        bases = catalog.root / ".datapack/bases"
        bases.mkdir(parents=True)
        (tmp_path / "other/blobs").rename(bases / "blobs")
    found = results(catalog, status=0 if is_cached else 1)
    assert found["base"]["mark"] == ("note" if is_cached else "problem")
    assert "can't be reached" in found["base"]["found"]
    assert found["registry"]["mark"] == "note"
    assert "can't be reached" in found["registry"]["found"]


@pytest.mark.registry
def test_a_tag_that_moved(catalog, tmp_path):
    """The pinned base is compared with what its tag stands for now."""
    pinned = make_base(tmp_path / "one")
    make_base(tmp_path / "two", label="newer")
    with registries.serve(tmp_path) as registry:
        name = registries.push(tmp_path / "one", registry, "library/tiny:1")
        edit(catalog, '"oci:base"', f'"{name}"')
        found = results(catalog)["base"]
        assert (found["mark"], pinned in name) == ("ok", True)
        registries.push(tmp_path / "two", registry, "library/tiny:1")
        found = results(catalog)["base"]
    assert found["mark"] == "note"
    assert "its tag has another image now, sha256:" in found["found"]


@pytest.mark.registry
def test_the_login_at_the_registry(catalog, tmp_path):
    """No login is a note, one that the registry takes is ok, one that it refuses is a problem; no password is shown."""
    with registries.serve(tmp_path, login=True) as registry:
        edit(catalog, "127.0.0.1:1/example", f"{registry}/example")
        found = results(catalog)["registry"]
        assert (found["mark"], "docker login" in found["fix"]) == ("note", True)
        log_in(catalog, registry)
        assert results(catalog)["registry"]["found"] == f"{registry} answers and takes the stored login"
        log_in(catalog, registry, password=f"{PASSWORD}-old")
        found = results(catalog, status=1)["registry"]
    assert (found["mark"], PASSWORD in str(found), USER in str(found)) == ("problem", False, False)
    assert "401" in found["found"]


@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.registry
def test_a_private_dataset_in_an_open_repository(catalog, tmp_path, is_private):
    """That everybody can read the repository of a private dataset is a problem; a public one has no line."""
    edit(catalog, "title: A small reef", f"title: A small reef\n    private: {str(is_private).lower()}")
    make_base(tmp_path / "image")
    with registries.serve(tmp_path) as registry:
        edit(catalog, "127.0.0.1:1/example", f"{registry}/example")
        assert results(catalog)["registry"]["found"].endswith("answers and needs no login")
        registries.push(tmp_path / "image", registry, "example/reef:v1")
        found = results(catalog, status=1 if is_private else 0)
    assert ("privacy" in found) == is_private
    if is_private:
        assert (
            found["privacy"]["found"]
            == f"everybody can read {registry}/example/reef, and not everybody may have the dataset"
        )


def test_a_proxy_that_can_not_be_used_is_a_problem(catalog):
    """What the environment says is checked before a download fails of it."""
    catalog.env["HTTPS_PROXY"] = "socks5://127.0.0.1:1"
    found = results(catalog, status=1)["web"]
    assert "can't use this kind of proxy" in found["found"]
    catalog.env["HTTPS_PROXY"] = ""
    catalog.env["REQUESTS_CA_BUNDLE"] = os.devnull
    assert "certificates can't be read" in results(catalog, status=1)["web"]["found"]


def test_a_repository_that_git_refuses(catalog):
    """A repository that git can't read, as that of another user, is not taken for none."""
    git(catalog, "init", "-q")
    (catalog.root / ".git/config").write_text("[core\n")
    assert results(catalog, status=1)["git"]["found"] == f"git can't read the repository of {catalog.root}"


def test_variables_of_headers_have_values(monkeypatch):
    """A variable that a source's headers name is looked for; its value is not shown."""

    class Authenticated(UrlSource):
        headers: dict[str, str]

    source = Authenticated(url="https://127.0.0.1/x", headers={"Authorization": "Bearer ${REEF_TOKEN}"})
    (need,) = sources._needs(SimpleNamespace(sources=[source]))
    monkeypatch.delenv("REEF_TOKEN", raising=False)
    found = sources._look_for(need)
    assert (found.mark, found.found) == ("problem", "REEF_TOKEN is not set, and a source's headers need it")
    monkeypatch.setenv("REEF_TOKEN", "a-secret")
    found = sources._look_for(need)
    assert (found.mark, "a-secret" in str(found)) == ("ok", False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_that_is_closed(tmp_path):
    """In a folder that may not be read, doctor says so in its lines, as in any other."""
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "datasets.yml").touch()
    os.chown(folder, 65534, 65534)
    folder.chmod(0)
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "datapack"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": "unix:///nowhere.sock"}
    done = subprocess.run(
        [*command, "-C", str(folder), "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert f"problem  catalog   {folder}/datasets.yml: Permission denied" in done.stdout
    assert f"problem  disk      can't write in {folder}" in done.stdout
