"""The SMB2/3 engine."""
