"""Users, shares, credentials and DCE/RPC, in a process of their own."""
