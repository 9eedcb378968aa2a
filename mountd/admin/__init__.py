"""What administrators do by DCE/RPC, as mountd does it for the RPC process."""
