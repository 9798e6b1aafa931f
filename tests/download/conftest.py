"""A server that replies as each test wants."""

import pytest

from tests.servers import Server


@pytest.fixture
def server():
    with Server() as running:
        yield running
