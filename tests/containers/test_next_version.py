"""The next version in a real engine: its parent's layers and its own make one complete dataset."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from tests.bags import contents
from tests.three_versions import FIRST, SECOND, make_reef

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Catalog
    from tests.containers.engines import Engine


def test_each_version_imports_its_own_files(engine: Engine, stand_in_base: Path, catalog: Catalog) -> None:
    """The engine stores shared layers once; each version's import copies its files, and no withdrawn one."""
    shutil.rmtree(catalog.root / "base")
    shutil.copytree(stand_in_base, catalog.root / "base")
    reef = make_reef(catalog.root)
    layers = {}
    for version, files in (("v1", FIRST), ("v2", SECOND)):
        reef.ok("build", f"reef@{version}")
        tag = f"localhost/next-version:{version}"
        engine.load(reef.root / f"dist/reef-{version}", tag, reef.root)
        shown = engine.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", tag).stdout
        layers[version] = json.loads(shown.splitlines()[-1])
        out = reef.root / f"out-{version}"
        out.mkdir()
        log = engine.run("run", "--rm", "--network", "none", "--volume", f"{out}:/safe_outputs", tag).stdout
        assert log.splitlines()[-1].startswith(f"IMPORT OK reef@{version} sha256:")
        assert contents(out / f"reef/{version}/data") == files
    base, program, *data, _ = layers["v1"]
    assert layers["v2"][:4] == [base, program, data[0], data[2]]  # and two whole layers of data
    assert not set(layers["v2"][4:]) & set(layers["v1"])
