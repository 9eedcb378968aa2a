"""SPNEGO and NTLMSSP as an acceptor, without I/O."""
