"""Transports: they carry whole messages and know nothing of SMB."""
