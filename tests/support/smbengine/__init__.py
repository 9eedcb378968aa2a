"""One worker's engine in memory, for the unit tests: real store and files, no process, no socket.

`server` has the engine with stand-ins for what does I/O, `client` a client that speaks through
a pair of memory transports, `requests` the bodies that it sends.
"""
