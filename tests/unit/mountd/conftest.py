"""Fixtures of mountd's tests."""

import sys
from pathlib import Path

# Tests are imported by path (importlib mode), their helper module by its folder.
sys.path.insert(0, str(Path(__file__).parent))
