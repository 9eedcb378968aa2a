"""One module a command of [MS-SMB2] 2.2."""
