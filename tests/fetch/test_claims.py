"""Claims: two files of a payload have different names everywhere, not only here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.bag.names import folded
from datapack.errors import FetchError
from datapack.fetch.claims import Claims

SIMILAR = [
    ("a.png", "A.png"),
    ("images/a.png", "Images/b.png"),
    ("Images/a", "images"),
    ("é", "e\u0301"),
    ("É/a", "e\u0301/b"),
    ("straße", "STRASSE"),
    ("\u212b", "å"),
    ("ﬁ", "fi"),
]


@pytest.mark.parametrize("names", SIMILAR)
@pytest.mark.parametrize("turned", [False, True])
def test_similar_names_are_refused_before_anything_is_fetched(names, turned):
    """Names, of files or folders, that differ only in case or Unicode form are one name on macOS and Windows."""
    one, other = reversed(names) if turned else names
    claims = Claims()
    claims.add(one, "the first")
    with pytest.raises(FetchError) as error:
        claims.add(other, "the second")
    assert str(error.value).startswith("the second: ")
    assert "are the same name on macOS and Windows; rename one of them, or give the version" in str(error.value)
    assert str(error.value).isascii()  # é in two forms would look equal


@pytest.mark.parametrize("names", SIMILAR)
def test_similar_names_are_allowed_where_the_catalog_says_so(names):
    """A dataset that has them can be carried, once someone has decided so."""
    with pytest.raises(FetchError, match="are the same name"):
        add_all(Claims(), names)
    add_all(Claims(similar_names=True), names)  # and does not raise


def add_all(claims: Claims, names) -> None:
    for name in names:
        claims.add(name, "the catalog")


@given(st.lists(st.text("aAbBéÉe\u0301/", min_size=1, max_size=4), unique=True))
def test_every_pair_of_similar_names_is_found(names):
    """Whatever the order: two paths are claimed exactly if no part of one is similar to a part of the other."""
    claims, known = Claims(), {}
    for name in names:
        parts = name.split("/")
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if "" in parts or any(path in claims._files for path in paths) or name in claims._folders:
            continue
        similar = [path for path in paths if known.get(folded(path), path) != path]
        if similar:
            with pytest.raises(FetchError, match="the same name"):
                claims.add(name, "x")
            return
        claims.add(name, "x")
        known.update({folded(path): path for path in paths})


def test_a_catalog_allows_them_by_a_key(catalog):
    """The key is the version's, and the line that refuses them names it."""
    for name in ("reef.txt", "Reef.txt"):
        (catalog.root / "source" / name).write_bytes(b"")
    error = catalog.fails("fetch", "reef@v1", status=1)
    assert "'reef.txt' and 'Reef.txt' are the same name on macOS and Windows; rename one of them" in error
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace("        sources:", "        similar_names: true\n        sources:"))
    assert "fetched    reef@v1: 6 files" in catalog.ok("fetch", "reef@v1")
