"""Stores that tests of sources share."""

import os

import pytest


@pytest.fixture
def aws(monkeypatch):
    """Credentials that nobody has, and no others."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    from tests.fetch.stores import CREDENTIALS  # here: most tests need no S3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_endpoint():
    """The URL of an S3 on loopback."""
    from tests.fetch.stores import s3_server

    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint, aws):
    """An S3 whose bucket holds a few objects, and nothing of an earlier test."""
    from tests.fetch.stores import FILES, S3

    store = S3(s3_endpoint)
    for page in store.client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for found in page.get("Contents", ()):
            store.client.delete_object(Bucket="bucket", Key=found["Key"])
    for name, content in FILES.items():
        store.put(f"data/{name}", content)
    return store
