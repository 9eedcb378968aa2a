"""The share's parameters that the file system layer obeys, named as smb.conf names them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOptions:
    """Where previous versions are, as `shadow:` parameters say it for vfs_shadow_copy2.

    `format` is strftime's, or has `%lu` for seconds; `sort` is asc, desc or none.
    """

    directory: str = ".snapshots"
    mount_point: str = ""
    base_directory: str = ""
    share_path: str = ""
    format: str = "@GMT-%Y.%m.%d-%H.%M.%S"
    local_time: bool = False
    sort: str = "desc"
    fix_inodes: bool = False


# The rights of a new file or directory before the share's masks, as Samba begins.
NEW_FILE = 0o666
NEW_DIRECTORY = 0o777


class FinderInfo(Enum):
    """Where what Finder knows of a file is kept, as `fruit:metadata` says it."""

    NETATALK = auto()
    """In `user.org.netatalk.Metadata`, as AppleDouble."""
    STREAM = auto()
    """As other streams."""


class InheritOwner(Enum):
    """Whose a new file is, as `inherit owner` says it."""

    NO = auto()
    """Whoever made it."""
    WINDOWS_AND_UNIX = auto()
    """Its directory's owner's."""
    UNIX_ONLY = auto()
    """His to the system, and to clients whoever made it, where descriptors are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOptions:
    """How one share treats its files.

    The masks apply to POSIX modes and expect the process's umask to be 0: the worker sets
    that once, as the umask belongs to the whole process. `veto` tells whether a name is not to
    be seen or used, `hidden` whether it shows as hidden besides the names that begin with a dot.
    `hide_unreadable` leaves out of listings what the user may not read, `hide_special_files` what
    is neither file nor folder nor link; with `inherit_permissions` the folder's mode takes the
    place of the masks; `cross_mounts` lets paths lead into what is mounted beneath the root.
    `made_names`: what SMB cannot say is spelled with stand-ins (see spelling.py), and any file goes
    by its 8.3 name; `lists_short_names`: listings tell the 8.3 names.
    """

    follow_symlinks: bool = True
    cross_mounts: bool = True
    store_dos_attributes: bool = True
    hide_dot_files: bool = True
    hide_unreadable: bool = False
    hide_special_files: bool = False
    create_mask: int = 0o744
    directory_mask: int = 0o755
    force_create_mode: int = 0
    force_directory_mode: int = 0
    inherit_permissions: bool = False
    inherit_owner: InheritOwner = InheritOwner.NO
    case_sensitive: bool = False
    veto: Callable[[str], bool] | None = None
    hidden: Callable[[str], bool] | None = None
    read_only: bool = False
    ea_support: bool = True
    streams: bool = True
    made_names: bool = True
    lists_short_names: bool = False
    msdfs: bool = False
    """Symbolic links to `msdfs:` are links of DFS; see dfs_links.py."""
    snapshots: SnapshotOptions | None = None
    """Where the previous versions of the share are, if it has any."""
    deletes_vetoed: bool = False
    """What is vetoed goes with its directory, which is empty to clients without it."""
    finder_info: FinderInfo | None = None
    """Where AFP_AfpInfo is kept; None: it is a stream like others."""
    forks_in_files: bool = False
    """Resource forks are in files `._NAME`, not streams (`fruit:resource = file`)."""
    converts_doubles: bool = False
    """What macOS has put into files `._NAME` becomes streams, when a file is asked for them."""
    wipes_blank_forks: bool = False
    """One that says it is intentionally left blank is emptied then."""
    deletes_empty_doubles: bool = False
    """Files `._NAME` without a fork are deleted then."""
    posix: bool = False
    """Names are POSIX's, as clients of the SMB3 POSIX extensions see the tree."""
    inode_salt: int = 0
    """What sets the inode numbers of a snapshot apart from those of the files, where it must."""

    def hides(self, name: str) -> bool:
        """Whether a file shows as hidden because of its name."""
        by_dot = self.hide_dot_files and name.startswith(".")
        return by_dot or (self.hidden is not None and self.hidden(name))

    @property
    def new_mode(self) -> int:
        """The permissions that new directories or new files have by the masks."""
        file = NEW_FILE & self.create_mask | self.force_create_mode
        return file | NEW_DIRECTORY & self.directory_mask | self.force_directory_mode
