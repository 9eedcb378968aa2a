"""Marks of the engine's tests."""

import pytest

from smbengine.server import TRANSPORT

BY_MEMORY = pytest.mark.skipif(TRANSPORT != "memory", reason="looks at the transport in memory")
"""Marks a test of what SMB Direct does otherwise: the reason of an end, spans of files, ..."""
