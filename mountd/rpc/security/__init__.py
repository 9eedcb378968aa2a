"""Security of the RPC protocol itself: who binds, and calls that are signed or sealed."""
