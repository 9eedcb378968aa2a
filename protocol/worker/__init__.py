"""One worker: an event loop, its clients, its ways to the other processes."""
