"""A second user, for the commands."""

import pytest
from smbengine.client import Client
from smbengine.server import Engine


@pytest.fixture
def other(engine: Engine) -> Client:
    """Return another user's client."""
    return Client(engine).ready(user="bob")
