"""`datapack metadata`: what is missing, what is refused, and that nothing else changes."""

import json

import pytest

from tests.bags import contents
from tests.metadata.datasets import dataset, read

FILES = {"train.json": b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}', "a.png": b"a"}


def test_it_changes_no_digest_and_gives_the_same_bytes_again(built):
    """The bag, the lock and the image stay as they are; a second run, elsewhere too, writes the same."""
    text = (built.root / "datasets.yml").read_text()
    keys = "    creators: [{person: 'Carberry, Josiah'}]\n    published: 2024\n    publisher: A University\n"
    (built.root / "datasets.yml").write_text(text.replace("    versions:", f"{keys}    versions:", 1))
    before = contents(built.root)
    built.ok("metadata", "reef@v1")
    written = contents(built.root / "dist" / "reef-v1.metadata")
    after = contents(built.root)
    assert {path for path in after if path not in before} == {f"dist/reef-v1.metadata/{name}" for name in written}
    assert {path for path in before if after[path] != before[path]} == set()
    image = json.loads((built.root / "dist" / "reef-v1" / "index.json").read_bytes())["manifests"][0]["digest"]
    (described,) = [each for each in read(built, "croissant.json", "reef-v1")["distribution"] if each["@id"] == "image"]
    assert f"sha256:{described['sha256']}" == image
    other = built.copy(built.root.parent / "copy")
    other.ok("metadata", "reef@v1")
    assert contents(other.root / "dist" / "reef-v1.metadata") == written
    assert other.leftovers() == []


def test_each_missing_answer_is_a_line(tmp_path):
    """Without the answers that a format requires, it is not written; a line for each says what to add where."""
    catalog = dataset(tmp_path / "odd", FILES, creators=None, published=None, publisher=None)
    done = catalog.run("metadata", "odd@v1")
    assert done.returncode == 1
    missing = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("missing")]
    assert [line.partition(":")[0] for line in missing] == [
        "datasets.odd.creators",
        "datasets.odd.published",
        "datasets.odd.publisher",
        "datasets.odd.requested_by",
    ]
    assert all(": add " in line for line in missing)


def test_a_changed_file_is_refused(tmp_path):
    """Nothing is written of a file that differs from the manifest, though its name and size are the same."""
    catalog = dataset(tmp_path / "odd", FILES)
    path = catalog.root / "data" / "odd" / "v1" / "data" / "train.json"
    changed = path.read_bytes().replace(b"a.png", b"b.png")
    path.unlink()
    path.write_bytes(changed)
    error = catalog.fails("metadata", "odd@v1", status=3)
    assert "train.json: the file differs from the bag's manifest" in error
    assert not (catalog.root / "dist").exists() or not list((catalog.root / "dist").iterdir())


@pytest.mark.parametrize("change", ["extra", "missing", "none", "lock"])
def test_a_bag_that_is_not_the_locked_one_is_refused(tmp_path, change):
    """One line says that the bag has other files, is not there, or is not what the lock says."""
    catalog = dataset(tmp_path / "odd", FILES)
    bag = catalog.root / "data" / "odd" / "v1"
    if change == "extra":
        (bag / "data" / "new").write_bytes(b"")
    elif change == "missing":
        (bag / "data" / "a.png").unlink()
    elif change == "none":
        bag.rename(bag.with_name("other"))
    else:
        lock = catalog.root / "datasets.lock"
        lock.write_text(lock_with_zeros(lock))
    assert {"extra": "differ", "missing": "differ", "none": "not on this machine", "lock": "datasets.lock says"}[
        change
    ] in catalog.fails("metadata", "odd@v1")


def lock_with_zeros(path) -> str:
    """Return a lock whose dataset digest is another."""
    lines = path.read_text().splitlines()
    return "\n".join(f"  digest: sha256:{64 * '0'}" if line.startswith("  digest:") else line for line in lines) + "\n"


def test_only_its_own_folder_is_replaced(tmp_path):
    """A folder with other files, or a file, stays as it is; its own earlier output is replaced as a whole."""
    catalog = dataset(tmp_path / "odd", FILES)
    other = catalog.root / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    assert "thesis.tex" in catalog.fails("metadata", "odd@v1", "--to", "mine")
    assert "a file or a link is where" in catalog.fails("metadata", "odd@v1", "--to", "mine/thesis.tex")
    (catalog.root / "dist").mkdir()
    (catalog.root / "dist" / "odd-v1.metadata").symlink_to("../mine")
    assert "a file or a link is where" in catalog.fails("metadata", "odd@v1")
    assert contents(other) == {"thesis.tex": b"x"}
    (catalog.root / "empty").mkdir()
    for _ in range(2):
        catalog.ok("metadata", "odd@v1", "--to", "empty")
    assert (catalog.root / "empty" / "croissant.json").is_file()
    assert catalog.leftovers() == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    """Folders of a run that was killed go away with the next one; `datapack remove` removes the metadata."""
    catalog = dataset(tmp_path / "odd", FILES)
    part = catalog.root / "dist" / "odd-v1.metadata.partial"
    (part / "crate" / "data").mkdir(parents=True)
    (part / ".datapack-0123456789abcdef").write_bytes(b"{")
    (catalog.root / "dist" / "odd-v1.metadata.old").mkdir()
    catalog.ok("metadata", "odd@v1")
    assert [path.name for path in (catalog.root / "dist").iterdir()] == ["odd-v1.metadata"]
    catalog.ok("remove", "odd@v1", "--dist", "--yes")
    assert list((catalog.root / "dist").iterdir()) == []


def test_only_the_owner_can_enter_the_metadata_of_private_data(tmp_path):
    """The names of private files are for nobody else; other metadata is readable as usual."""
    catalog = dataset(tmp_path / "odd", FILES, private=True)
    catalog.ok("metadata", "odd@v1", "--sha512")
    assert (catalog.root / "dist" / "odd-v1.metadata").stat().st_mode & 0o777 == 0o700
    assert "Private" in read(catalog, "croissant.json")["conditionsOfAccess"]


def test_a_model_is_described_too(tmp_path):
    """Weights have the type Model; a dataset without COCO files and tables has no records."""
    weights = {"model.safetensors": len(b"{}").to_bytes(8, "little") + b"{}"}
    catalog = dataset(tmp_path / "odd", weights, kind="model", version={"model": {"architecture": "other"}})
    catalog.ok("metadata", "odd@v1")
    assert read(catalog, "datacite.json")["types"]["resourceTypeGeneral"] == "Model"
    assert "recordSet" not in read(catalog, "croissant.json")
