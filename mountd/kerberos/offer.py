"""Whether Kerberos is offered: it is asked for, and the library and the keytab are there."""

import dataclasses

import msgspec

from usmbd.mountd.config.load import Configuration
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.kerberos.acceptor import Acceptor, UnavailableError


def offered(configuration: Configuration) -> Configuration:
    """Return the configuration, without Kerberos and with a warning where it cannot be had.

    ConfigError where nobody could log in then.
    """
    kerberos, server = configuration.kerberos, configuration.server
    if kerberos is None:
        return configuration
    try:
        Acceptor(kerberos.keytab, kerberos.service)
    except UnavailableError as error:
        why = f"Kerberos is not offered: {error}"
    else:
        return configuration
    if not server.ntlm:
        raise ConfigError(str(configuration.path), 0, f"nobody could log in: {why}")
    return dataclasses.replace(
        configuration,
        kerberos=None,
        server=msgspec.structs.replace(server, kerberos=False),
        warnings=[*configuration.warnings, f"{configuration.path}: {why}"],
    )
