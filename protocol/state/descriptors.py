"""How many descriptors this process may have, and what they are kept for."""

import resource

MOST = 1 << 20
"""What is asked for at most: fs.nr_open of Linux, where root's hard limit has none."""

INTERNAL = 320
"""Kept for what serves everybody: up to 128 threads with two descriptors during a call, the store,
the sockets of the other processes, the shares' roots, a few spare."""

CONNECTIONS = 4
"""One of so many is kept for connections; each that comes beyond that takes one from the opens."""

LEAST = 512
"""Below that there is no room for anybody's work beside the reserve."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, for this process and its children; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else soft


def for_opens(limit: int, connections: int) -> int:
    """Return how many of `limit` descriptors are for opens, with so many connections."""
    return max(limit - INTERNAL - max(connections, limit // CONNECTIONS), 0)
