"""A server that does what a test tells it to."""

import pytest

from tests.servers import Server


@pytest.fixture
def server():
    with Server() as running:
        yield running
