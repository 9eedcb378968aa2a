"""The messages between mountd and its clients: all that the engine sees of mountd."""
