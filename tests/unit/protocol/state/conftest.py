"""A second client, of this or of another worker: what one caches the other breaks."""

import pytest
from smbengine.client import Client
from smbengine.server import Engine


@pytest.fixture(params=["same worker", "two workers"])
def other(engine: Engine, client: Client, request: pytest.FixtureRequest) -> Client:
    """Return a second client, of this or of another worker."""
    server = engine.another_worker() if request.param == "two workers" else None
    return Client(engine, server=server).ready(user="bob")
