"""From a file to the settings, as mountd, the RPC process and the tools use them."""

import contextlib
import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from usmbd.mountd import paths
from usmbd.mountd.account_facts import PasswordPolicy
from usmbd.mountd.config.base import Base, Made
from usmbd.mountd.config.choose import Chooser, Chosen
from usmbd.mountd.config.configuration import Configuration as Configuration
from usmbd.mountd.config.forced import forced
from usmbd.mountd.config.idmap import IdmapRange, is_idmap, parse_idmap
from usmbd.mountd.config.kerberos import KerberosConfig, NtlmAuth, kerberos_of
from usmbd.mountd.config.modules import fruit, no_snapshots, snapshots, vetoed
from usmbd.mountd.config.parameters import (
    GLOBALS,
    SHARES,
    TABLE,
    Parameter,
    Scope,
)
from usmbd.mountd.config.reading import read_source
from usmbd.mountd.config.sections import PRINTERS, UNAVAILABLE, why_left_out
from usmbd.mountd.config.source import (
    GLOBAL,
    Entry,
    Section,
    Source,
    parameter_key,
    share_key,
)
from usmbd.mountd.config.together import (
    Remark,
    odd_in_global,
    odd_in_share,
    who_is_listed,
    wrong_in_global,
    wrong_in_share,
)
from usmbd.mountd.config.username_map import UsernameMap
from usmbd.mountd.config.usershare_rules import Rules, rules_of
from usmbd.mountd.errors import ConfigError, raise_all
from usmbd.mountd.hosts import HostList, parse_hosts
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.settings import (
    Encryption,
    ServerConfig,
    ShareConfig,
    ShareType,
)
from usmbd.mountd.shares import HostAccess, Share, ShareAccess
from usmbd.mountd.substitute import STATIC, Template, fill, letters_of, static_substitutions

# ksmbd-tools' limit: 64 bytes with the end; [MS-SMB2] 2.2.9 itself would allow 80 characters.
MAX_SHARE_NAME_BYTES = 63
# [MS-FSCC] 2.1.6, and the characters that have a meaning in ksmbd.conf.
_FORBIDDEN = frozenset('"\\/[]:|<>+=;,*?')
IPC = "ipc$"
HOMES = "homes"
# All that can be said of IPC$.
_IPC_PARAMETERS = ("comment", "hosts allow", "hosts deny", "valid users")


def load(
    path: Path,
    text: str | None = None,
    *,
    tcp_port: int | None = None,
    registered: Iterable[Section] = (),
) -> Configuration:
    """Read the configuration; ConfigError when any of it cannot be used.

    `text` stands for the file's content (a tool's change before it is written); `tcp_port` is
    a command line's, which comes before the file's; `registered` are the registry's shares, which
    come behind the file's and are left out where they are wrong.
    """
    source = read_source(path, text)
    with contextlib.closing(paths.Directories()) as directories:
        return _Loader(path, Accounts(), directories).load(source, tcp_port, registered)


def check_share_name(name: str) -> str:
    """Return the name; ValueError that says why it cannot be a share's."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_SHARE_NAME_BYTES:
        raise ValueError(f"a share name has 1 to {MAX_SHARE_NAME_BYTES} bytes, this one {size}")
    if not name.isprintable() or _FORBIDDEN & set(name):
        raise ValueError(f"{name!r} has characters that a share name cannot have")
    if share_key(name) in PRINTERS:
        raise ValueError(f"[{name}]: {PRINTERS[share_key(name)]}")
    return name


class _Loader:
    """One pass over one source: errors and warnings are gathered, and told at its end."""

    def __init__(
        self,
        path: Path,
        accounts: Accounts,
        directories: paths.Directories,
        *,
        strict: bool = False,
    ) -> None:
        self.path = path
        self.accounts = accounts
        self._known: dict[str, bool] = {}
        self._strict = strict
        self._chooser = Chooser(strict=strict)
        self._directories = directories
        self.errors, self.warnings = self._chooser.errors, self._chooser.warnings

    def load(
        self, source: Source, tcp_port: int | None, registered: Iterable[Section] = ()
    ) -> Configuration:
        """Build the configuration; ConfigError with all that is wrong."""
        self.errors += source.errors
        self.warnings += map(str, source.warnings)
        empty = Section(GLOBAL, str(self.path), 0)
        global_section = source.sections.get(GLOBAL, empty)
        chosen = self._chooser.choose(global_section, in_global=True)
        ours = {n: pair for n, pair in chosen.items() if pair[0].scope is Scope.GLOBAL}
        defaults = {
            parameter.name: (parameter, entry)
            for parameter, entry in chosen.values()
            if parameter.scope is Scope.SHARE
        }
        kerberos = self._kerberos(ours)
        idmap = self._idmap_ranges(global_section)
        username_map = self._username_map(ours)
        server, root = self._server(ours, tcp_port, kerberos)
        # Samba: `hosts allow` in [global] holds for the server, whatever a share says.
        hosts = HostAccess(
            self._hosts(defaults.pop("hosts allow", None)),
            self._hosts(defaults.pop("hosts deny", None)),
        )
        substitutions = static_substitutions(server.netbios_name, server.workgroup)
        shares = {IPC: self._ipc(source.sections.get(IPC), substitutions)}
        homes = None
        for key, section in source.sections.items():
            if key in (GLOBAL, IPC):
                continue
            if why := self._left_out(section):
                if why == UNAVAILABLE:
                    self._tell_of_later(section, defaults, root, substitutions, server)
                continue
            if self._is_mistyped(section):
                continue
            try:
                share = self._share(section, defaults, root, substitutions, server)
            except ConfigError as error:
                self.errors.append(error)
                continue
            if key == HOMES:
                homes = share
            elif share is not None:
                shares[key] = share
        values = self._values(ours, GLOBALS)
        rules = self._usershares(ours, values, source)
        raise_all(self.errors, str(self.path))
        self._chooser.tell_gathered()
        alone = Configuration(
            self.path,
            server,
            hosts,
            shares,
            kerberos,
            idmap,
            username_map,
            PasswordPolicy.of(values),
            homes,
            self.warnings,
            self._chooser.said,
        )

        def make(sections: Iterable[Section]) -> dict[str, Made]:
            about, taken = (defaults, root, substitutions, server), {*shares, GLOBAL, HOMES}
            with contextlib.closing(paths.Directories()) as directories:
                return {
                    share_key(section.name): Made(None, "the file says it, or it is no share")
                    if share_key(section.name) in taken
                    else _Loader(self.path, Accounts(), directories, strict=True).made(
                        section, *about
                    )
                    for section in sections
                }

        base = Base(alone, values["host msdfs"], make, rules=rules)
        return base.with_all(registered)

    def made(self, section: Section, *about: Any) -> Made:
        """Return what a section of the registry comes to: what is wrong leaves it out."""
        if why := self._left_out(section):
            return Made(None, why, tuple(self.warnings))
        try:
            share = self._share(section, *about)
            raise_all(self.errors)
        except ConfigError as error:
            said = f"{error} ([{section.name}] is left out)"
            return Made(None, str(error), (*self.warnings, said), self._chooser.said)
        self._chooser.tell_gathered()
        return Made(share, "", tuple(self.warnings), self._chooser.said)

    def _is_mistyped(self, section: Section) -> bool:
        """Return whether a section is probably meant to be [global]; that is an error."""
        near = difflib.get_close_matches(share_key(section.name), [GLOBAL], cutoff=0.8)
        if not near or any(parameter_key(entry.name) == "path" for entry in section.entries):
            return False
        why = f"[{section.name}] has no path: did you mean [global]?"
        self.errors.append(ConfigError(section.file, section.line, why))
        return True

    def _left_out(self, section: Section) -> str:
        """Return why a section is no share, aloud: a printer, or `available = no`."""
        reason = why_left_out(section)
        if reason:
            said = f"[{section.name}] is left out: {reason}"
            self.warnings.append(str(ConfigError(section.file, section.line, said)))
        return reason

    def _tell_of_later(self, section: Section, *about: Any) -> None:
        """Warn of what will be wrong with a share once it is available."""
        errors, warnings = len(self.errors), len(self.warnings)
        try:
            self._share(section, *about)
        except ConfigError as error:
            self.errors.append(error)
        found = self.errors[errors:]
        del self.errors[errors:], self.warnings[warnings:]
        self._chooser.said.pop(section.name, None)
        self.warnings += [f"{error} (once it is available)" for error in found]

    def _values(self, chosen: Chosen, rows: dict[str, Parameter]) -> dict[str, Any]:
        """Return all values of a scope by the parameters' names: what was said, else defaults."""
        result = {row.name: row.default() for row in rows.values()}
        result.update({name: row.value(entry) for name, (row, entry) in chosen.items()})
        return result

    def _fields(self, values: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Return the values that fill a structure, by the fields' names."""
        return {row.field: values[row.name] for row in TABLE if row.scope is scope and row.field}

    def _server(
        self, chosen: Chosen, tcp_port: int | None, kerberos: KerberosConfig | None
    ) -> tuple[ServerConfig, str]:
        """Return the global settings and the root directory."""
        values = self._values(chosen, GLOBALS)
        fields = self._fields(values, Scope.GLOBAL)
        if tcp_port is not None:
            fields["tcp_port"] = tcp_port
        if not fields["state_directory"]:
            fields["state_directory"] = str(paths.state_directory())
            fields["data_directory"] = fields["data_directory"] or str(paths.data_directory())
        # A state directory of one's own holds everything: a second server is then independent.
        fields["data_directory"] = fields["data_directory"] or fields["state_directory"]
        if fields["min_protocol"] > fields["max_protocol"]:
            name = next(n for n in chosen if n.startswith("server m") and n.endswith("protocol"))
            why = "server min protocol is above server max protocol"
            self.errors.append(chosen[name][1].error(why))
        self._refuse(
            wrong_in_global(chosen, values, kerberos=kerberos is not None, accounts=self.accounts)
        )
        fields["kerberos"] = kerberos is not None
        for entry, said in odd_in_global(chosen, values, self.accounts):
            self._chooser.warn(entry, said)
        fields["ntlm"] = values["ntlm auth"] is not NtlmAuth.DISABLED
        fields["ntlmv1"] = values["ntlm auth"] is NtlmAuth.NTLMV1
        substitutions = static_substitutions(fields["netbios_name"], fields["workgroup"])
        fields["server_string"] = fill(fields["server_string"], substitutions)
        return ServerConfig(**fields), values["root directory"]

    def _username_map(self, chosen: Chosen) -> UsernameMap:
        """Return what `username map` names; a warning where there is no such file."""
        name = "username map"
        if name not in chosen:
            return UsernameMap()
        path = Path(chosen[name][0].value(chosen[name][1]))
        if not path.exists():
            self._chooser.warn(chosen[name][1], f"{name}: there is no {path} (now)")
        found = UsernameMap(path)
        self.warnings += found.warnings
        return found

    def _usershares(self, chosen: Chosen, values: dict[str, Any], source: Source) -> Rules | None:
        """Return what users of the machine may share; a template that is not there is an error."""
        try:
            return rules_of(values, source)
        except ValueError as error:
            entry = chosen["usershare template share"][1]
            self.errors.append(entry.error(f"{entry.name}: {error}"))
            return None

    def _idmap_ranges(self, section: Section) -> list[IdmapRange]:
        """Return the ranges of domains; what is wrong with them is noted."""
        entries = [each for each in section.entries if is_idmap(each.name)]
        ranges, errors, warnings = parse_idmap(entries)
        self.errors += errors
        self.warnings += warnings
        return ranges

    def _kerberos(self, chosen: Chosen) -> KerberosConfig | None:
        """Return what is asked for of Kerberos; what does not go together is noted."""
        values = self._values(chosen, GLOBALS)
        try:
            return kerberos_of(values)
        except ValueError as error:
            self.errors.append(chosen["kerberos method"][1].error(str(error)))
            return None

    def _refuse(self, remarks: Iterable[Remark]) -> None:
        """Note errors."""
        self.errors += [entry.error(said) for entry, said in remarks]

    def _hosts(self, pair: tuple[Parameter, Entry] | None) -> HostList:
        """Return a list of hosts; a name that is not known is an error like a misspelled one."""
        if pair is None:
            return HostList()
        parameter, entry = pair
        try:
            return parse_hosts(parameter.value(entry))
        except ValueError as error:
            self.errors.append(entry.error(f"{entry.name}: {error}"))
            return HostList()

    def _ipc(self, section: Section | None, substitutions: dict[str, str]) -> Share:
        """Return IPC$, of which little can be said."""
        config = ShareConfig(
            name="IPC$",
            type=ShareType.PIPE,
            comment="IPC service",
            browseable=False,
            read_only=False,
            guest_ok=True,
            max_connections=0,
        )
        if section is None:
            return Share(config)
        chosen = self._chooser.choose(section, in_global=False)
        for name, (_, entry) in chosen.items():
            if name not in _IPC_PARAMETERS:
                self.errors.append(entry.error(f"{entry.name!r} has no meaning for IPC$"))
        values = self._values(chosen, SHARES)
        access = ShareAccess(
            hosts=self._host_access(chosen), valid_users=tuple(values["valid users"])
        )
        if "comment" not in chosen:
            return Share(config, access)
        comment = self._comment(chosen, values, {**substitutions, "S": config.name})
        return Share(msgspec.structs.replace(config, comment=comment), access)

    def _comment(
        self, chosen: Chosen, values: dict[str, Any], substitutions: dict[str, str]
    ) -> str:
        """Return a share's comment, which is the same for all clients."""
        comment: str = values["comment"]
        known = {*substitutions, *STATIC, "$"}
        letters = letters_of(comment) if isinstance(comment, Template) else []
        if left := [letter for letter in letters if letter not in known]:
            why = f"comment = {comment}: %{left[0]} stays as it is written, but in [homes]"
            self._chooser.warn(chosen["comment"][1], why)
        return fill(comment, substitutions)

    def _host_access(self, chosen: Chosen) -> HostAccess:
        """Return the hosts that a share's own section names."""
        return HostAccess(
            self._hosts(chosen.get("hosts allow")),
            self._hosts(chosen.get("hosts deny")),
        )

    def _share(
        self,
        section: Section,
        defaults: Chosen,
        root: str,
        substitutions: dict[str, str],
        server: ServerConfig,
    ) -> Share | None:
        """Return one disk share, or [homes]; None when it is wrong in a way that is noted."""
        try:
            name = check_share_name(section.name)
        except ValueError as error:
            raise ConfigError(section.file, section.line, str(error)) from error
        is_homes = share_key(name) == HOMES
        wrong = len(self.errors)
        chosen = {**defaults, **self._chooser.choose(section, in_global=False)}
        values = self._values(chosen, SHARES)
        if len(self.errors) == wrong and not (values["path"] or values["msdfs proxy"] or is_homes):
            why = f"the share [{section.name}] has no path: path = /folder"
            if self._strict:
                raise ConfigError(section.file, section.line, why)
            said = f"{why} (it is left out)"  # as by smbd
            self.warnings.append(str(ConfigError(section.file, section.line, said)))
            return None
        if not is_homes:
            substitutions = {**substitutions, "S": name}
        fields = self._fields(values, Scope.SHARE)
        # Template or not, it is a text for the structures.
        path = self._path(section, chosen, values, root)
        fields["path"] = str(path)
        if not is_homes:
            fields["comment"] = self._comment(chosen, values, substitutions)
        fields["msdfs_root"] = values["msdfs root"] or bool(values["msdfs proxy"])
        objects = values["vfs objects"]
        fields["veto_files"] = vetoed(values)
        force_account, force_gid = forced(chosen, values, self.accounts, self._chooser.warn)
        hosts = self._host_access(chosen)
        shadows = snapshots(chosen, values, self.errors) if "shadow_copy2" in objects else None
        self._refuse(wrong_in_share(chosen, values, server, self.accounts))
        if len(self.errors) > wrong:
            return None
        missing = no_snapshots(chosen, values, fields["path"], self._directories.has)
        for entry, said in (*odd_in_share(chosen, values, server, self.accounts), *missing):
            self._chooser.warn(entry, f"[{section.name}]: {said}")
        config = ShareConfig(
            **fields,
            name=name,
            encryption_required=values["server smb encrypt"] is Encryption.REQUIRED,
            acl_xattr="acl_xattr" in objects,
            streams_xattr="streams_xattr" in objects or "fruit" in objects,
            snapshots=shadows,
            fruit=fruit(chosen, values, self._chooser.warn),
            force_uid=force_account.uid if force_account else None,
            force_gid=force_gid,
        )
        lists = {
            key.replace(" ", "_"): tuple(values[key])
            for key in ("valid users", "invalid users", "read list", "write list", "admin users")
        }
        access = ShareAccess(
            hosts=hosts,
            guest_account=values["guest account"],
            guest_only=values["guest only"] and values["guest ok"],
            force_user=values["force user"],
            force_group=values["force group"],
            force_account=force_account,
            **lists,
        )
        self._check_groups(chosen, values)
        return Share(config, access, path, substitutions)

    def _path(self, section: Section, chosen: Chosen, values: dict[str, Any], root: str) -> str:
        """Return a share's path behind the root directory; a warning where there is no folder."""
        path: str = values["path"]
        if not path and values["msdfs proxy"]:
            return "/"  # nothing of it is ever opened: all is elsewhere
        if not path:
            return path
        if isinstance(path, Template):
            return Template(root + path)
        if root:
            path = os.path.normpath(root + path)
        there = self._directories.has(path)
        if not there:
            state = "does not answer" if there is None else "is not a directory"
            self._chooser.warn(chosen["path"][1], f"[{section.name}]: {path} {state} (now)")
        elif not self.accounts.privileged and not os.access(path, os.R_OK | os.X_OK):
            self._chooser.warn(
                chosen["path"][1],
                f"[{section.name}]: the server's user may not read {path}: nobody sees files in it",
            )
        return path

    def _check_groups(self, chosen: Chosen, values: dict[str, Any]) -> None:
        """Warn of groups and accounts that do not exist (now): nobody is meant by them."""
        for entry, word in who_is_listed(chosen, values):
            if isinstance(word, Template) or self._is_known(word):
                continue
            what = f"group '{word[1:]}'" if word[0] == "@" else f"account '{word}'"
            self._chooser.warn(entry, f"{entry.name}: there is no {what} (now)")

    def _is_known(self, word: str) -> bool:
        """Return whether the system has a user, or a group `@name`; asked once for all shares."""
        if word not in self._known:
            if word[0] == "@":
                self._known[word] = self.accounts.find_group(word[1:]) is not None
            else:
                # A login meets a list whatever its case; the system's names have mostly none.
                self._known[word] = any(map(self.accounts.exists, {word, word.casefold()}))
        return self._known[word]
