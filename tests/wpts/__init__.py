"""Microsoft's server tests for SMB Direct (WindowsProtocolTestSuites, MS-SMBD), by their names.

Each test does what the one of its name does there, with raw bytes against our server's side.
"""
