"""A server whose replies each test sets."""

import pytest

from tests.servers import Server


@pytest.fixture
def server():
    with Server() as running:
        yield running
