"""The configuration as the engine sees it: typed, resolved, without a parameter's spelling.

Sizes are bytes, times seconds, modes POSIX permission bits, dialects the numbers of
[MS-SMB2] 2.2.3. The defaults are those of the parameter table (`mountd.config.parameters`),
which fills these structures by the fields' names.
"""

from enum import StrEnum

from msgspec import Struct

MIB = 1024 * 1024


class Signing(StrEnum):
    """`server signing`."""

    DISABLED = "disabled"
    """Not offered; SMB2 still signs when the client requires it ([MS-SMB2] 3.3.5.4)."""
    AUTO = "auto"
    """Sign when the client asks."""
    ENABLED = "enabled"
    """Offer signing and sign when the client can."""
    MANDATORY = "mandatory"
    """Refuse unsigned sessions."""


class Encryption(StrEnum):
    """`smb3 encryption` / `server smb encrypt`."""

    OFF = "off"
    """Never; the capability is not announced."""
    AUTO = "auto"
    """When the client asks or a share requires it."""
    DESIRED = "desired"
    """With every client that can."""
    REQUIRED = "required"
    """Clients that cannot are refused."""


class MapToGuest(StrEnum):
    """`map to guest`: which failed logins become the guest."""

    NEVER = "never"
    BAD_USER = "bad user"
    BAD_PASSWORD = "bad password"
    BAD_UID = "bad uid"
    """A good ticket of somebody who has no account here."""


class Rdma(StrEnum):
    """`rdma`: whether SMB Direct is served."""

    NO = "no"
    AUTO = "auto"
    """When there is a device that can be used; else the log says what is missing."""
    YES = "yes"
    """The server does not start without."""


class Durability(StrEnum):
    """`persistent handles durability`: what a persistent open outlives, as its client was told."""

    NONE = "none"
    """All processes of the server, not the machine: nothing is written to a disk."""
    DATA = "data"
    """The machine: opens, locks and leases are on the disk before they are answered for."""
    STRICT = "strict"
    """And what is written through such an open is, too, as on Windows."""


class ShareType(StrEnum):
    """The kind of a share ([MS-SMB2] 2.2.10 ShareType)."""

    DISK = "disk"
    PIPE = "pipe"
    """IPC$."""


class MangledNames(StrEnum):
    """Which names a file has besides its own."""

    NO = "no"
    """None: what SMB cannot say is not seen."""
    ILLEGAL = "illegal"
    """What SMB cannot say has a spelling that it can; every file goes by an 8.3 name."""
    YES = "yes"
    """The same, and listings tell the 8.3 names."""


class InheritOwner(StrEnum):
    """Whose a new file is."""

    NO = "no"
    """Whoever made it."""
    WINDOWS_AND_UNIX = "windows and unix"
    """Its folder's owner's."""
    UNIX_ONLY = "unix only"
    """His to the system (and his quota's); to Windows whoever made it."""


class CscPolicy(StrEnum):
    """`csc policy`: what clients keep for when they are offline ([MS-SMB2] 2.2.10 ShareFlags)."""

    MANUAL = "manual"
    """What a user chooses."""
    DOCUMENTS = "documents"
    """What is opened."""
    PROGRAMS = "programs"
    """The same, and programs are run from there."""
    DISABLE = "disable"
    """Nothing."""

    @property
    def flags(self) -> int:
        """The bits of ShareFlags, and of [MS-SRVS] 2.2.4.29 shi1005_flags."""
        return list(CscPolicy).index(self) << 4


class Slow(StrEnum):
    """`slow`: whether a call of the share's file system may take forever."""

    NO = "no"
    """It is this machine's own; a call that takes long is noticed all the same."""
    AUTO = "auto"
    """Where another machine or a process answers for it: NFS, CephFS, Lustre, FUSE ..."""
    YES = "yes"
    """No call holds up anything but its own request."""


class DfsSite(Struct, array_like=True, frozen=True):
    """Clients and servers that are near each other (`dfs sites`)."""

    name: str
    networks: list[str]
    """Where its clients are."""
    servers: list[str]
    """The hosts of DFS links that are near them."""


class SnapshotConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where previous versions are (`vfs objects = shadow_copy2` and its `shadow:` options)."""

    directory: str = ".snapshots"
    """`shadow:snapdir`; if relative, beneath the mount point."""
    mount_point: str = ""
    """`shadow:mountpoint`; empty: it is found."""
    base_directory: str = ""
    """`shadow:basedir`, of which a snapshot is the image; empty: the mount point."""
    share_path: str = ""
    """`shadow:snapsharepath`: where the share is in a snapshot; empty: as beneath the base."""
    format: str = "@GMT-%Y.%m.%d-%H.%M.%S"
    """`shadow:format`, strftime's; with `shadow:sscanf` it has %lu for seconds."""
    local_time: bool = False
    """`shadow:localtime`: names say the time of this machine's zone."""
    sort: str = "desc"
    """`shadow:sort`: asc, desc or none."""
    fix_inodes: bool = False
    """`shadow:fixinodes`: files in snapshots get inode numbers of their own."""


class FinderInfo(StrEnum):
    """`fruit:metadata`: where the stream AFP_AfpInfo of a file is kept."""

    NETATALK = "netatalk"
    """In `user.org.netatalk.Metadata`, as AppleDouble."""
    STREAM = "stream"
    """As other streams."""


class ResourceForks(StrEnum):
    """`fruit:resource`: where the stream AFP_Resource of a file is kept."""

    FILE = "file"
    """In a file `._NAME` beside it, in AppleDouble's form."""
    STREAM = "stream"
    """As other streams."""


class FruitConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What macOS finds on a share (`vfs objects = fruit` and its `fruit:` options)."""

    aapl: bool = True
    """Whether it is told what there is for it, by the create context AAPL."""
    metadata: FinderInfo = FinderInfo.NETATALK
    resource: ResourceForks = ResourceForks.FILE
    convert_adouble: bool = True
    """What macOS itself has put into files `._NAME` becomes streams."""
    wipe_intentionally_left_blank_rfork: bool = False
    delete_empty_adfiles: bool = False
    model: str = "MacSamba"
    """`fruit:model`: whose icon Finder shows."""
    copyfile: bool = False
    """Whole files are copied by one FSCTL_SRV_COPYCHUNK without chunks."""
    nfs_aces: bool = True
    """Owner, group and mode are entries S-1-5-88 of DACLs."""
    posix_rename: bool = True
    """Directories are renamed while files in them are open."""
    zero_file_id: bool = True
    """FileIds are 0, for macOS makes its own of inodes that are used again."""
    aapl_rsize: bool = True
    """Listings tell the size of resource forks."""
    aapl_finder_info: bool = True
    aapl_max_access: bool = True
    """Listings tell what the user may do; without it that he may do all."""
    time_machine: bool = False
    time_machine_max_size: int = 0
    """Bytes that backups may take as the client is told; 0: no limit."""


class ShareConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One share."""

    name: str
    """As configured; names are compared casefolded."""
    type: ShareType = ShareType.DISK
    path: str = ""
    """The absolute directory, after `root directory`; empty for IPC$."""
    comment: str = ""

    read_only: bool = True
    """The share's default; `TreeConnectResponse.writable` says what holds for a user."""
    guest_ok: bool = False
    browseable: bool = True
    access_based_share_enum: bool = False
    """Lists have it for those alone who may connect to it."""
    max_connections: int = 128
    """Sessions connected at a time; 0: no limit. mountd counts them."""
    encryption_required: bool = False
    compress_data: bool = False
    """Clients are told to ask for compressed data, as by `New-SmbShare -CompressData`."""

    case_sensitive: bool = False
    mangled_names: MangledNames = MangledNames.ILLEGAL
    csc_policy: CscPolicy = CscPolicy.MANUAL
    usershare: bool = False
    """A user of the machine has named its path: who connects has to get there by his own rights."""
    hide_dot_files: bool = True
    hide_unreadable: bool = False
    hide_files: list[str] = []
    """Wildcard patterns of what shows as hidden."""
    hide_special_files: bool = False
    """FIFOs, sockets and devices are not listed."""
    veto_files: list[str] = []
    """Wildcard patterns, one an element of `veto files = /a/b*/`."""
    delete_veto_files: bool = False
    """A folder that has nothing but vetoed entries is empty to who deletes it: they go with it."""
    delete_readonly: bool = False
    """Files that are read only can be deleted."""
    follow_symlinks: bool = False
    slow: Slow = Slow.AUTO
    crossmnt: bool = True
    """Mount points beneath the share may be entered."""

    store_dos_attributes: bool = True
    ea_support: bool = True
    msdfs_root: bool = False
    """A root of DFS: symbolic links to `msdfs:server\\share` lead clients to other servers."""
    msdfs_proxy: list[str] = []
    """All of the share is elsewhere, at one of these: `\\server\\share`. It is a root, too."""
    msdfs_shuffle: bool = False
    """`msdfs shuffle referrals`: targets that cost the same come in any order."""
    acl_xattr: bool = False
    """NT ACLs are kept in `security.NTACL` (`vfs objects = acl_xattr`)."""
    streams_xattr: bool = False
    """Named streams are kept in extended attributes (`vfs objects = streams_xattr`)."""
    fruit: FruitConfig | None = None
    """What there is for macOS; None: nothing."""
    snapshots: SnapshotConfig | None = None
    """Where previous versions are; None: there are none."""
    create_mask: int = 0o744
    directory_mask: int = 0o755
    force_create_mode: int = 0
    force_directory_mode: int = 0
    inherit_permissions: bool = False
    """New files have the permissions of their folder, not those of the masks."""
    inherit_owner: InheritOwner = InheritOwner.NO
    nt_acl_support: bool = True
    """Clients see and set permissions."""

    force_uid: int | None = None
    """`force user`, resolved; `TreeConnectResponse` has already applied it."""
    force_gid: int | None = None
    """`force group` (or the forced user's group), resolved and already applied."""

    oplocks: bool = True
    durable_handles: bool = True
    """As configured; see `keeps_handles`."""
    kernel_oplocks: bool = False
    """Oplocks stand with the kernel's leases; there are no SMB2 leases."""
    posix_locking: bool = False
    """Clients' byte-range locks are the kernel's too."""
    continuous_availability: bool = False
    """Opens may be persistent ([MS-SMB2] 3.3.1.6, Share.IsCA)."""
    persistent_handles_durability: Durability = Durability.DATA

    @property
    def keeps_handles(self) -> bool:
        """Whether handles outlive connections: none that local programs know of, as on Samba."""
        return self.durable_handles and not (self.kernel_oplocks or self.posix_locking)


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The global configuration."""

    netbios_name: str = "USMBD"
    server_string: str = "SMB SERVER"
    workgroup: str = "WORKGROUP"

    tcp_port: int = 445
    interfaces: list[str] = []
    """Interface names, addresses or networks; empty: all."""
    bind_interfaces_only: bool = False
    rdma: Rdma = Rdma.AUTO
    """On `tcp_port`, and where there is an iWARP device on port 5445 too."""
    workers: int = 2
    state_directory: str = ""
    """Absolute; the sockets and the store lie here. Need not outlive a boot."""
    data_directory: str = ""
    """Absolute; what must outlive a boot (persistent opens)."""
    hidden: dict[str, list[str]] = {}
    """Folders and files that no worker shall see, and which secrets are in each."""

    min_protocol: int = 0x0202
    max_protocol: int = 0x0311
    signing: Signing = Signing.AUTO
    encryption: Encryption = Encryption.AUTO
    compression: bool = True
    """`smb3 compression`: for clients that can; what is compressed is asked for by the client."""
    multichannel: bool = True
    leases: bool = True
    posix_extensions: bool = True
    """`smb3 unix extensions`: modes, owners and names as POSIX has them, for clients that ask."""
    directory_leases: bool = False
    """Only with `leases`."""
    persistent_handles: bool = False
    """Some share has `continuous availability`."""

    smb2_max_read: int = 8 * MIB
    smb2_max_write: int = 8 * MIB
    smb2_max_trans: int = 8 * MIB
    smb2_max_credits: int = 8192
    max_io_size: int = 8 * MIB
    """`smbd max io size`: the largest SMB Direct read or write."""

    max_connections: int = 16384
    """Transport connections of the whole server on which users have logged in; 0: no limit. The
    parameters' defaults for this and the next two come from the machine."""
    max_ip_connections: int = 8192
    """Of one address; 0: no limit."""
    max_active_sessions: int = 16384
    """Users' sessions of one worker; 0: no limit."""
    max_open_files: int = 10000
    """Of one session."""
    deadtime: int = 0
    """Seconds after which a connection without opens is closed; 0: never."""
    worker_timeout: int = 15
    """Seconds without an answer after which a worker is ended and replaced; 0: never."""
    keepalive: int = 120
    """Seconds of silence after which a TCP client is asked whether it lives; 0: never."""
    ipc_timeout: int = 0
    """Seconds without an answer of mountd after which a request fails; 0: the engine's default."""

    multicast_dns_register: bool = True
    """Whether other machines find the server by multicast DNS."""
    ws_discovery: bool = True
    """Whether they find it by WS-Discovery, if it is at port 445."""
    fruit_model: str = ""
    """What it is announced as to macOS: the model of the first share with `fruit`."""
    backup_disks: list[str] = []
    """The shares with `fruit:time machine`."""

    kerberos: bool = False
    """Whether clients are offered Kerberos: mountd has a keytab and the library."""
    ntlm: bool = True
    """`ntlm auth`: whether clients are offered NTLM."""
    ntlmv1: bool = False
    """`ntlm auth = ntlmv1-permitted`: whether NTLMv1 is taken as well."""
    map_to_guest: MapToGuest = MapToGuest.NEVER
    guest_account: str = "nobody"
    restrict_anonymous: int = 1
    """0: null sessions may list shares; 1: null sessions may not enumerate; 2: they reach
    `guest ok` shares alone, not IPC$."""

    dfs: bool = False
    """Whether there is a root of DFS (and `host msdfs = yes`): only then anything is said of it."""
    dfs_sites: list[DfsSite] = []

    change_notify: bool = True
    """Whether CHANGE_NOTIFY is served at all."""
    kernel_change_notify: bool = True
    """Whether clients are told what the kernel tells, by inotify: what local programs change, too;
    otherwise only what clients change."""

    fake_fscaps: int = 0
    """`share:fake_fscaps`: bits added to FileSystemAttributes ([MS-FSCC] 2.5.1). Samba and ksmbd
    add 64, sparse files; here a share has that bit where its file system can have holes."""
    fsctl_smbtorture: bool = False
    """`smbd:FSCTL_SMBTORTURE`: for Samba's test suite alone."""
    log_level: int = 1
    """0 errors, 1 events, 2 requests refused, 3 and more debug."""
    log_json: bool = False

    @property
    def protected(self) -> bool:
        """Whether all sessions are signed or encrypted, and so need a key: nobody's have none."""
        return self.signing is Signing.MANDATORY or self.encryption is Encryption.REQUIRED
