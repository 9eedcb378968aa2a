"""What holds where a configuration says nothing: ksmbd.conf(5)'s defaults, and the README's."""

import msgspec
import pytest

from usmbd.mountd.ipc.settings import (
    Encryption,
    MangledNames,
    MapToGuest,
    Rdma,
    ServerConfig,
    ShareConfig,
    ShareType,
    Signing,
)

MIB = 1 << 20

SERVER = {
    "netbios_name": "USMBD",
    "server_string": "SMB SERVER",
    "workgroup": "WORKGROUP",
    "tcp_port": 445,
    "interfaces": [],
    "bind_interfaces_only": False,
    "rdma": Rdma.AUTO,
    "workers": 2,
    "min_protocol": 0x202,
    "max_protocol": 0x311,
    "signing": Signing.AUTO,
    "encryption": Encryption.AUTO,
    "multichannel": True,
    "smb2_max_read": 8 * MIB,
    "smb2_max_write": 8 * MIB,
    "smb2_max_trans": 8 * MIB,
    "smb2_max_credits": 8192,
    "max_io_size": 8 * MIB,
    "max_active_sessions": 16384,
    "max_open_files": 10000,
    "map_to_guest": MapToGuest.NEVER,
    "guest_account": "nobody",
    "fake_fscaps": 0,
    "fsctl_smbtorture": False,
    "log_json": False,
}
SHARE = {
    "type": ShareType.DISK,
    "path": "",
    "comment": "",
    "read_only": True,
    "guest_ok": False,
    "browseable": True,
    "max_connections": 128,
    "encryption_required": False,
    "case_sensitive": False,
    "mangled_names": MangledNames.ILLEGAL,
    "hide_dot_files": True,
    "hide_unreadable": False,
    "veto_files": [],
    "follow_symlinks": False,
    "crossmnt": True,
    "store_dos_attributes": True,
    "ea_support": True,
    "acl_xattr": False,
    "streams_xattr": False,
    "create_mask": 0o744,
    "directory_mask": 0o755,
    "force_create_mode": 0,
    "force_directory_mode": 0,
    "force_uid": None,
    "force_gid": None,
    "oplocks": True,
    "continuous_availability": False,
    "persistent_handles_durability": "data",
}


@pytest.mark.parametrize(
    ("config", "defaults"), [(ServerConfig(), SERVER), (ShareConfig(name="x"), SHARE)]
)
def test_defaults(config: msgspec.Struct, defaults: dict[str, object]) -> None:
    said = msgspec.structs.asdict(config)
    assert {name: said[name] for name in defaults} == defaults
