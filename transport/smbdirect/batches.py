"""How much a connection takes at once, and how long what answers it waits to be posted together."""

FLUSH_SIZE = 1 << 16
"""What is posted waits for the end of the batch of requests that it answers, up to this many bytes
of messages: a client that is sent more has something to do meanwhile."""

HELD_SIZE = 1 << 18
"""As many bytes of WRITEs before them."""

HELD_POLLS = 4
"""Polls that find more to serve after which nothing waits any longer."""

BATCH = 64
"""Completions that are taken at once."""

ROUNDS = 8
"""Polls after which other connections have their turn."""
