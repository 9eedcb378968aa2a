"""Attacks over the wire: what comes in must not hang, leak, crash or show another's data."""
