"""The DCE/RPC interfaces, one module each, and the pipes that they are reached by."""
