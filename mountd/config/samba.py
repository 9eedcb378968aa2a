"""What Samba's other parameters mean here: all of smb.conf(5), and some that it had once.

`parameters.TABLE` has those that usmbd does. The rest is left out with a warning, one line a
reason, unless somebody would be let in without it, or could change files: then it is refused, with
what to write instead. Nothing is passed over in silence.
"""

import re
from dataclasses import dataclass

from usmbd.mountd.config.source import parameter_key


@dataclass(frozen=True, slots=True)
class Foreign:
    """A parameter that usmbd does not have."""

    name: str
    reason: str
    """Why it has no effect, or what to write instead of it."""
    harmless: bool
    accepted: frozenset[str] = frozenset()
    """Values that say what is so anyway."""
    misplaced: bool = False
    """Nobody has it there: who writes it by a tool is told so, and a file is served without it."""

    def accepts(self, value: str) -> bool:
        """Return whether the value says what is so anyway."""
        return value.strip().strip('"').lower() in self.accepted


def _names(text: str) -> list[str]:
    """Return the names of a group."""
    return [" ".join(name.split()) for name in text.split(";")]


NO = ("no", "false", "0", "off", "disabled")
YES = ("yes", "true", "1", "on", "enabled")

# Reason -> names, parted by `;`.
HARMLESS = {
    "the log goes to standard error, as `log level` and `log json` say": """
        log file; logging; max log size; syslog; syslog only; timestamp logs; debug class;
        debug encryption; debug hires timestamp; debug pid; debug prefix timestamp;
        debug syslog format; debug timestamp; debug uid; winbind debug traceid;
        ldap debug level; ldap debug threshold; panic action; enable core files;
        log nt token command; log writeable files on exit; auth event notification;
        dsdb event notification; dsdb group change notification;
        dsdb password event notification; eventlog list; smbd profiling level; perfcount module;
        utmp; utmp directory; wtmp directory""",
    "there are no printers": """
        addport command; addprinter command; cups connection timeout; cups encrypt;
        cups options; cups server; default devmode; deleteprinter command; enable spoolss;
        disable spoolss; enumports command; force printername; iprint server; load printers;
        lppause command; lpq cache time; lpq command; lpresume command; lprm command;
        max print jobs; max reported print jobs; min print space; os2 driver map; print command;
        print notify backchannel; printcap; printcap cache time; printcap name; printer;
        printer name; printing; printjob username; queuepause command; queueresume command;
        show add printer wizard; use client driver; printer admin""",
    "there is no NetBIOS: no name service, no browsing elections, no WINS": """
        auto services; browse list; disable netbios; dgram port; dns proxy; domain master;
        enhanced browsing; lm announce; lm interval; local master; max ttl; max wins ttl;
        mdns name; message command; min wins ttl; name cache timeout;
        name resolve order; nbt client socket address; nbt port; netbios aliases; netbios scope;
        nmbd bind explicit broadcast; os level; prefered master; preferred master; preload;
        remote announce; remote browse sync; time server; wins hook; wins proxy; wins server;
        wins support; announce as; announce version; hostname lookups""",
    "users and passwords are those of usmbd.adduser, groups those of the system": """
        add group script; add user script; add user to group script; algorithmic rid base;
        check password script; delete group script; delete user from group script;
        delete user script; ldap admin dn; ldap connection timeout; ldap delete dn; ldap deref;
        ldap follow referral; ldap group suffix; ldap idmap suffix; ldap machine suffix;
        ldap page size; ldap passwd sync; ldap password sync; ldap replication sleep; ldap ssl;
        ldap suffix; ldap timeout; ldap user suffix; nt hash store; null passwords;
        obey pam restrictions; old password allowed period; pam password change; passdb backend;
        passdb expand explicit; passwd chat; passwd chat debug; passwd chat timeout;
        passwd program; password hash gpg key ids; password hash userPassword schemes;
        password server; private dir; private directory; rename user script;
        set primary group script; smb passwd file; unix password sync; username level;
        username map cache time; enable privileges; auth methods; homedir map;
        nis homedir""",
    "of a domain usmbd knows the tickets alone, by a keytab, and is no domain controller": """
        add machine script; additional dns hostnames; allow dns updates; allow nt4 crypto;
        allow unsafe cluster upgrade; apply group policies;
        async dns timeout; bind dns directory; binddns dir; cldap port; create krb5 conf;
        dcerpc endpoint servers; dns forwarder; dns hostname; dns port;
        dns update command; dns zone scavenging; dns zone transfer clients allow;
        dns zone transfer clients deny; gpo update command; idmap backend; idmap cache time;
        idmap gid; idmap negative cache time; idmap uid; include system krb5 conf;
        init logon delay; init logon delayed hosts; kdc default domain supported enctypes;
        kdc enable fast; kdc force enable rc4 weak session keys; kdc supported enctypes;
        kerberos encryption types; kpasswd port; krb5 port;
        ldap max anonymous request size; ldap max authenticated request size;
        ldap max search request size; ldap server require strong auth; logon drive; logon home;
        logon path; logon script; lsa over netlogon; machine password timeout;
        map untrusted to domain; mit kdc command; neutralize nt4 emulation; nsupdate command;
        ntp signd socket directory; ntvfs handler; reject md5 clients;
        reject md5 servers; require strong key; samba kcc command; server reject md5 schannel;
        server require schannel; server schannel; server schannel require seal; server services;
        server support krb5 netlogon; spn update command; sync machine password script;
        sync machine password to keytab; template homedir; template shell; tls cafile;
        tls certfile; tls crlfile; tls dh params file; tls enabled; tls keyfile; tls priority;
        tls verify peer; winbind cache time; winbind enum groups; winbind enum users;
        winbind expand groups; winbind gid; winbind max clients; winbind max domain connections;
        winbind nested groups; winbind normalize names; winbind nss info; winbind offline logon;
        winbind reconnect delay; winbind refresh tickets; winbind request timeout;
        winbind rpc only; winbind scan trusted domains; winbind sealed pipes;
        winbind uid; winbind use default domain; winbind use krb5 enterprise principals;
        winbindd socket directory""",
    "it is about clients of other servers": """
        client ipc max protocol; client ipc min protocol; client ipc signing;
        client lanman auth; client ldap sasl wrapping; client max protocol; client min protocol;
        client NTLMv2 auth; client plaintext auth; client protection; client schannel;
        client signing; client smb encrypt; client smb3 encryption algorithms;
        client smb3 signing algorithms; client use kerberos; client use krb5 netlogon;
        client use spnego; client use spnego principal; use spnego""",
    "SMB 1 is not served, and NTLMv1 and LM are refused": """
        dos charset; display charset; lanman auth; large readwrite; max mux; max xmit;
        nt status support; raw NTLMv2 auth; read raw; reset on zero vc; smb1 unix extensions;
        unicode; write raw; enable asu support;
        rpc big endian; share modes""",
    "usmbd does it in a way of its own, without tuning": """
        aio max threads; aio read size; aio write behind; aio write size;
        allocation roundup size; async smb echo handler; block size; cache directory;
        defer sharing violations; dfree cache time; dfree command;
        directory name cache size; dmapi support; fake directory create times; fake oplocks;
        fstype; get quota command; getwd cache;
        kernel share modes; level2 oplocks; lock dir; lock directory; lock spin time; locking;
        blocking locks; max disk size; max smbd processes; max stat cache size;
        min receivefile size; ncalrpc dir; oplock break wait time; oplock contention limit;
        pid directory; prefork backoff increment; prefork children;
        prefork maximum backoff; preload modules; rpc server dynamic port range;
        rpc server port; rpc start on demand helpers; set quota command;
        smb2 disable lock sequence checking; smb2 disable oplock break retry;
        smbd async dosmode; smbd force process locks; smbd getinfo ask sharemode;
        smbd max async dosmode; smbd max xattr size; smbd search ask sharemode;
        stat cache; strict allocate; strict locking; strict rename; strict sync;
        time offset; use mmap; use sendfile; veto oplock files; vfs mkdir use tmp name;
        write cache size; allow dcerpc auth level connect;
        smb3 share cap:continuous availability""",
    "SMB 1 is not served; those of SMB 3.1.1 are `smb3 unix extensions`": """
        unix extensions""",
    "data is on the disk after a client's FLUSH, not after each WRITE": """
        sync always""",
    "TCP_NODELAY is set always, probes come by `keepalive`, the kernel sizes buffers": """
        socket options""",
    "usmbd does not have it, and nothing is opened or hidden without it": """
        abort shutdown script; acl allow execute always; acl check permissions;
        acl flag inherited canonicalization; acl group control; acl map full control;
        add share command; administrative share; afs share; afs token lifetime;
        afs username map; change share command; default case;
        delete share command; directory security mask; dos filemode;
        dos filetime resolution; dos filetimes; exec; force directory security mode;
        force security mode; force unknown acl user; honor change notify privilege;
        inherit acls; magic output; magic script; mangle prefix; mangling char; mangling method;
        map acl inherit; map archive; map hidden; map readonly; map system;
        postexec; preexec; profile acls; root postexec;
        root preexec; security mask; shutdown script; spotlight; spotlight backend; svcctl list;
        volume; volume serial number; aapl model""",
    "links do not lead out of a share: mount the folder there (mount --bind)": """
        allow insecure wide links; wide links""",
    "names are UTF-8 on the disk, in the case that they are given": """
        preserve case; short preserve case; unix charset""",
    "passwords are never sent in clear text, and not taken": """
        encrypt passwords; update encrypted""",
    "a name that is no share leads nowhere": """
        default; default service""",
    "the registry is usmbd's own, which is always read (`net rpc conf import`)": """
        registry shares""",
    "it is listed, as the user has the right to": """
        dont descend; hide new files timeout; hide unwriteable files""",
    "it is about clusters of Samba": """
        cluster addresses; ctdb locktime warn threshold; ctdb timeout; ctdbd socket""",
}

SO_ANYWAY = {
    "allow insecure wide links": NO,
    "wide links": NO,
    "preserve case": YES,
    "short preserve case": YES,
    "unix charset": ("utf-8", "utf8"),
    "encrypt passwords": YES,
    "default": ("",),
    "default service": ("",),
    "registry shares": NO,
    "dont descend": ("",),
    "hide new files timeout": ("0",),
    "hide unwriteable files": NO,
    "load printers": NO,
    "socket options": ("tcp_nodelay",),
    "disable spoolss": YES,
    "disable netbios": YES,
    "lanman auth": NO,
    "local master": NO,
    "domain master": NO,
    "preferred master": NO,
    "wins support": NO,
    "dns proxy": NO,
    "null passwords": NO,
    "unix extensions": NO,
    "fake oplocks": NO,
    "sync always": NO,
    "spotlight": NO,
    "unix password sync": NO,
    "obey pam restrictions": NO,
}
"""Harmless ones that need no warning with these values: they say what is so anyway."""

# Name -> (values that say what is so anyway, what to write instead).
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "domain logons": (NO, "usmbd is no domain controller: leave it out"),
    "preexec close": (NO, "no command decides who may connect: write `valid users`, `hosts allow`"),
    "root preexec close": (NO, "no command decides who may connect: write `valid users`"),
    "username map script": (("",), "write the names into a file for `username map`"),
    "username": (("",), "write `valid users`"),
    "user": (("",), "write `valid users`"),
    "users": (("",), "write `valid users`"),
    "only user": (NO, "write `valid users`"),
    "config file": (("",), "write all into this file, or `include` the other"),
    "include": (
        ("",),
        "only a file in the syntax of smb.conf includes others: write all into this one",
    ),
    "config backend": (("file",), "Samba's registry is not read: write the shares into this file"),
    "copy": (("",), "only a share of the configuration file copies another section"),
    "clustering": (NO, "usmbd is no part of a cluster: leave it out"),
    "socket address": (
        ("", "0.0.0.0", "::"),
        "write `interfaces = ADDRESS` and `bind interfaces only = yes`",
    ),
    "nt pipe support": (YES, "write `restrict anonymous = 2` to keep strangers from IPC$"),
    "server smb3 encryption algorithms": (
        ("aes-128-gcm, aes-128-ccm, aes-256-gcm, aes-256-ccm",),
        "all four are offered; leave it out, or write `smb3 encryption = required`",
    ),
    "server smb3 signing algorithms": (
        ("aes-128-gmac, aes-128-cmac, hmac-sha256",),
        "all three are offered; leave it out, or write `server signing = mandatory`",
    ),
    "check parent directory delete on close": (
        NO,
        "take the right to write from the folder: the kernel asks for it at each deletion",
    ),
}

# vfs objects that change nothing here -> why.
HARMLESS_MODULES = {
    "usmbd has no such module, and nothing is opened or hidden without it": """
        aio_fork aio_linux aio_posix aio_pthread audit btrfs cacheprime catia commit crossrename
        default_quota delay_inject dfs_samba4 dirsort error_inject expand_msdfs extd_audit
        fake_acls fake_perms fileid full_audit gpfs io_uring ixnas linux_xfs_sgid
        media_harmony netatalk nfs4acl_xattr offline prealloc preopen readahead shadow_copy
        shadow_copy_zfs shell_snap snapper syncops time_audit tmprotect
        truenas_audit tsmsm unityed_media winmsa zfs_core zfsacl zfs_fsrvp noacl syno_vfs""",
    "what clients delete is gone at once": "recycle",
    "links do not lead out of a share: mount the folder there (mount --bind)": "widelinks",
    "streams are kept in extended attributes: write `streams_xattr`": "streams_depot",
    "extended attributes are the file system's": "xattr_tdb posix_eadb",
    "names are UTF-8 on the disk: rename what is not": "cap",
}
REFUSED_MODULES = {
    "virusfilter": "files are not scanned: let the scanner watch the folder",
    "scannedonly": "files are not scanned: let the scanner watch the folder",
    "worm": "files can be changed at any time: write `read only = yes`",
    "readonly": "write `read only = yes`",
    "acl_tdb": "ACLs are kept in extended attributes: write `acl_xattr`",
    "glusterfs": "mount the volume (mount -t glusterfs) and serve that folder",
    "glusterfs_fuse": "serve the folder without it",
    "ceph": "mount the file system (mount -t ceph) and serve that folder",
    "ceph_new": "mount the file system (mount -t ceph) and serve that folder",
}

# Whose options (`module:option`) change nothing, beside those of the modules above: usmbd's modules
# have some and no more, and these are no modules.
OPTION_PREFIXES = _names(
    """
    acl_xattr; aio; dns; dsdb; elasticsearch; fruit; fss; idmap; idmap_ldb; ldapsam; nfs4;
    readdir_attr; recycle; rpc_daemon; rpc_server; shadow; shadow_copy2; smbd; spoolss;
    streams_xattr; syno; vfs; winbind; winsdb; wreplsrv"""
)
# Those of usmbd's modules that it does not have: values that say what is so anyway, and what holds.
OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    parameter_key(name): told
    for name, told in {
        "shadow:snapdirseverywhere": (NO, "snapshots are looked for in `shadow:snapdir` alone"),
        "shadow:crossmountpoints": (NO, "snapshots are looked for in `shadow:snapdir` alone"),
        "shadow:snapprefix": (
            ("",),
            "names of snapshots are a time alone: write it with its prefix as `shadow:format`",
        ),
        "fruit:locking": (
            ("none",),
            "locks of netatalk are not asked: let no AFP server share the folder as well",
        ),
        "streams_xattr:prefix": (
            ("user.dosstream.",),
            "streams are in `user.DosStream.*`: those that Samba has made are not seen",
        ),
        "streams_xattr:store_stream_type": (
            YES,
            "streams are stored with their type: those that Samba has made are not seen",
        ),
    }.items()
}
# Vendors' own words: a NAS has many, and none is Samba's.
_VENDORS = {re.compile(r"\bsyno", re.I): "Synology's own, which Samba does not have either"}


FOREIGN: dict[str, Foreign] = {
    **{
        parameter_key(name): Foreign(
            name, reason, harmless=True, accepted=frozenset(SO_ANYWAY.get(name, ()))
        )
        for reason, text in HARMLESS.items()
        for name in _names(text)
    },
    **{
        parameter_key(name): Foreign(name, instead, harmless=False, accepted=frozenset(values))
        for name, (values, instead) in REFUSED.items()
    },
}
"""By `parameter_key`."""

MODULES = {name: reason for reason, text in HARMLESS_MODULES.items() for name in text.split()}
"""The modules that change nothing, with why."""


def find_foreign(name: str) -> Foreign | None:
    """Return what a parameter of Samba means that is not in the table; None: nobody has it."""
    key = parameter_key(name)
    if key in FOREIGN:
        return FOREIGN[key]
    if key in OPTIONS:
        values, reason = OPTIONS[key]
        return Foreign(name, reason, harmless=True, accepted=frozenset(values))
    module, colon, _ = name.partition(":")
    prefix = module.strip().lower().partition(" ")[0]
    if colon and (prefix in OPTION_PREFIXES or prefix in MODULES):
        return Foreign(name, "options of modules change nothing here", harmless=True)
    general = FOREIGN.get(parameter_key(module)) if colon else None
    if general is not None and general.harmless:  # `server schannel:COMPUTER`
        return Foreign(name, general.reason, harmless=True)
    for pattern, reason in _VENDORS.items():
        if pattern.search(name):
            return Foreign(name, reason, harmless=True)
    return None
