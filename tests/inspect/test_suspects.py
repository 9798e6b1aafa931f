"""Names of files that are in a dataset by mistake."""

from tests.inspect.planted import find

SECRETS = (".env", "keys/id_rsa", "keys/Server.PEM", ".aws/credentials", "x/kaggle.json")
LEFTOVERS = ("Thumbs.db", "x/.DS_Store", "__MACOSX/._a.png", "notes.txt~", "table.CSV.bak")
ORDINARY = ("images/a.txt", "train.json", "README.md", "LICENSE", "keys/x.txt", "a.keys", "tmp/a", "-", "monkey.txt")


def test_suspicious_names_are_found(tmp_path):
    """With the line that leaves them out, for secrets and for what other programs leave behind."""
    found = find(tmp_path, {name: name.encode() for name in (*SECRETS, *LEFTOVERS, *ORDINARY)})
    assert found["DP101"].files == set(SECRETS)
    assert found["DP102"].files == set(LEFTOVERS)
    assert found["DP102"].catalog.startswith("exclude: [")
    assert {found[code].rule.severity for code in ("DP101", "DP102")} == {"warning"}  # so that a fetch notes them


def test_ordinary_names_give_no_finding(tmp_path):
    """Nobody reads a line that comes with every dataset."""
    assert not {"DP101", "DP102"} & find(tmp_path, {name: name.encode() for name in ORDINARY}).keys()
