"""The structures of SMB2/3 and its companions, as bytes; no state, no I/O."""
