"""From a message to its reply: the table of commands, one request's way, compounds."""
