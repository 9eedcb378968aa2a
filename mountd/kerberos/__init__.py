"""Logins by Kerberos: tickets, whom they mean, and what is remembered of them.

    Ticket -> acceptor (the keytab, python-gssapi) -> principals (an account) -> facts (sealed)

Only mountd has the keytab, so only mountd looks into tickets. python-gssapi is an extra
(`usmbd[kerberos]`): without it, or without a keytab, Kerberos is not offered.
"""
