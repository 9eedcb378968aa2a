"""Every parameter of the table does something that a test shows.

`EFFECTS` names for each, by its place, the test that fails when its value is read by nobody. A
parameter without one fails `test_every_parameter_has_an_effect`.
"""

import ast
from pathlib import Path

import pytest

from usmbd.mountd.config.parameters import TABLE, Scope

ROOT = Path(__file__).resolve().parents[2]

U, W = "tests/unit", "tests/wire"
OWN = f"{U}/test_parameters.py"
FILES = f"{U}/test_file_parameters.py"
SHARES, LOGIN = f"{U}/mountd/test_shares.py", f"{U}/mountd/test_login.py"
SRVSVC = f"{U}/mountd/rpc/test_srvsvc.py"
CA = f"{U}/test_continuous_availability.py"
RDMA = f"{U}/protocol/worker/test_rdma_connections.py"
NOTIFY = f"{U}/protocol/commands/test_change_notify"
WORKER = f"{U}/protocol/worker/test_worker.py"
READ_ONLY = f"{U}/protocol/commands/test_delete_readonly.py"
VETO = f"{U}/protocol/commands/test_veto.py"
DOUBLES = f"{U}/protocol/commands/test_apple_doubles.py"
APPLE = f"{U}/protocol/commands/test_apple.py"
USERSHARES = f"{U}/mountd/test_usershares.py"
KERBEROS, TICKETS = f"{U}/mountd/config/test_kerberos.py", f"{U}/mountd/kerberos"
DFS = f"{U}/protocol/commands/test_dfs.py"
VERSIONS = f"{U}/protocol/commands/test_previous_versions.py"

EFFECTS: dict[tuple[Scope, str], str] = {
    **{
        (Scope.GLOBAL, name): effect
        for name, effect in {
            "netbios name": f"{OWN}::test_names_in_the_challenge",
            "server string": f"{SRVSVC}::test_server_get_info",
            "workgroup": f"{OWN}::test_names_in_the_challenge",
            "tcp port": f"{OWN}::test_tcp_port_and_interfaces",
            "interfaces": f"{OWN}::test_tcp_port_and_interfaces",
            "bind interfaces only": f"{OWN}::test_tcp_port_and_interfaces",
            "rdma": f"{U}/protocol/supervisor/test_rdma_service.py::test_why_it_is_not_in_use",
            "workers": f"{W}/test_running.py::test_new_connections_see_the_disk_in_every_worker",
            "state directory": f"{W}/mountd/test_daemon.py::"
            "test_it_serves_ends_and_leaves_no_child",
            "data directory": f"{U}/mountd/test_daemon.py::"
            "test_what_outlives_a_boot_is_in_the_data_directory",
            "smb2 max read": f"{OWN}::test_sizes",
            "smb2 max write": f"{OWN}::test_sizes",
            "smb2 max trans": f"{OWN}::test_sizes",
            "smb2 max credits": f"{OWN}::test_smb2_max_credits",
            "max connections": f"{U}/protocol/supervisor/test_supervisor.py::test_limits",
            "max ip connections": f"{U}/protocol/supervisor/test_supervisor.py::test_limits",
            "max active sessions": f"{OWN}::test_max_active_sessions",
            "max open files": f"{OWN}::test_max_open_files",
            "deadtime": f"{WORKER}::test_idle_clients_are_closed_busy_ones_not",
            "worker timeout": f"{W}/test_watchdog.py::"
            "test_a_stopped_worker_is_noticed_avoided_and_replaced",
            "ipc timeout": f"{WORKER}::test_mountd_has_so_long_to_answer",
            "multicast dns register": f"{U}/protocol/supervisor/test_discovery.py::"
            "test_each_can_be_switched_off_and_on",
            "ws discovery": f"{U}/protocol/supervisor/test_discovery.py::"
            "test_each_can_be_switched_off_and_on",
            "guest account": f"{LOGIN}::test_guests_are_the_guest_account",
            "change notify": f"{NOTIFY}_ends.py::test_change_notify_can_be_switched_off",
            "kernel change notify": f"{NOTIFY}_workers.py::"
            "test_without_the_kernel_the_engine_tells",
            "restrict anonymous": f"{SRVSVC}::test_restrict_anonymous",
            "keepalive": f"{WORKER}::test_clients_are_asked_whether_they_live",
            "log level": f"{W}/mountd/test_daemon.py::test_the_log_is_as_the_files_say",
            "log json": f"{W}/mountd/test_daemon.py::test_the_log_is_as_the_files_say",
            "smb3 compression": f"{OWN}::test_compression",
            "server min protocol": f"{OWN}::test_dialects",
            "server max protocol": f"{OWN}::test_dialects",
            "server signing": f"{OWN}::test_server_signing",
            "smb3 encryption": f"{OWN}::test_smb3_encryption",
            "server multi channel support": f"{OWN}::test_multi_channel",
            "smb2 leases": f"{OWN}::test_leases",
            "smb3 unix extensions": f"{OWN}::test_posix_extensions",
            "smb3 directory leases": f"{OWN}::test_directory_leases",
            "smbd max io size": f"{RDMA}::test_the_largest_transfer",
            "map to guest": f"{LOGIN}::test_the_others",
            "share:fake_fscaps": f"{OWN}::test_fake_fscaps",
            "smbd:FSCTL_SMBTORTURE": f"{OWN}::test_fsctl_smbtorture",
            "root directory": f"{OWN}::test_root_directory",
            "host msdfs": f"{DFS}::test_it_is_told_only_where_it_is_true",
            "dfs sites": f"{DFS}::test_the_nearest_come_first",
            "maximum password age": f"{U}/mountd/test_account_facts.py::test_the_ages_are_days",
            "minimum password age": f"{U}/mountd/test_account_facts.py::test_the_ages_are_days",
            "username map": f"{U}/mountd/config/test_username_map.py::test_who_logs_in_as_whom",
            "usershare max shares": f"{USERSHARES}::test_no_more_than_there_may_be",
            "usershare path": f"{USERSHARES}::test_what_net_usershare_writes_is_a_share",
            "usershare allow guests": f"{USERSHARES}::test_guests",
            "usershare owner only": f"{USERSHARES}::test_who_may_share_what",
            "usershare prefix allow list": f"{USERSHARES}::test_lists_of_places",
            "usershare prefix deny list": f"{USERSHARES}::test_lists_of_places",
            "usershare template share": f"{USERSHARES}::test_a_template",
            "security": f"{KERBEROS}::test_where_the_keys_are",
            "server role": f"{KERBEROS}::test_where_the_keys_are",
            "ntlm auth": f"{U}/protocol/commands/test_ntlmv1.py::test_where_it_is_permitted",
            "realm": f"{U}/mountd/config/test_kerberos.py::test_what_lines_say_of_principals",
            "kerberos method": f"{KERBEROS}::test_where_the_keys_are",
            "dedicated keytab file": f"{U}/protocol/commands/test_kerberos.py::"
            "test_a_ticket_begins_a_session",
            "kerberos support": f"{KERBEROS}::test_where_the_keys_are",
            "kerberos keytab file": f"{KERBEROS}::test_where_the_keys_are",
            "kerberos service name": f"{U}/mountd/config/test_kerberos.py::"
            "test_the_name_of_the_service",
            "winbind separator": f"{U}/mountd/config/test_kerberos.py::"
            "test_what_lines_say_of_principals",
            "min domain uid": f"{U}/mountd/config/test_kerberos.py::"
            "test_what_lines_say_of_principals",
            "allow trusted domains": f"{U}/mountd/config/test_kerberos.py::"
            "test_what_lines_say_of_principals",
        }.items()
    },
    **{
        (Scope.SHARE, name): effect
        for name, effect in {
            "comment": f"{SRVSVC}::test_share_enum",
            "path": f"{OWN}::test_path_and_read_only",
            "guest ok": f"{SHARES}::test_guests_and_null_sessions",
            "max connections": f"{OWN}::test_max_connections",
            "case sensitive": f"{OWN}::test_case_sensitive",
            "mangled names": f"{OWN}::test_mangled_names",
            "hide dot files": f"{OWN}::test_hide_dot_files",
            "csc policy": f"{OWN}::test_csc_policy",
            "hide files": f"{FILES}::test_hide_files",
            "hide special files": f"{FILES}::test_hide_special_files",
            "inherit permissions": f"{FILES}::test_inherit_permissions",
            "-valid": f"{USERSHARES}::test_a_template",
            "inherit owner": f"{U}/protocol/commands/test_inherited_owners.py::"
            "test_whose_a_new_file_is",
            "nt acl support": f"{FILES}::test_nt_acl_support",
            "access based share enum": f"{SRVSVC}::test_access_based_share_enum",
            "hide unreadable": f"{U}/protocol/commands/test_trees_and_pipes.py::"
            "test_a_share_tells_that_it_hides_what_may_not_be_read",
            "veto files": f"{OWN}::test_veto_files",
            "delete readonly": f"{READ_ONLY}::test_only_where_the_share_says_so",
            "delete veto files": f"{VETO}::test_vetoed_goes_with_its_folder",
            "follow symlinks": f"{OWN}::test_follow_symlinks",
            "crossmnt": f"{OWN}::test_crossmnt",
            "slow": f"{OWN}::test_slow",
            "store dos attributes": f"{OWN}::test_store_dos_attributes",
            "ea support": f"{OWN}::test_ea_support",
            "create mask": f"{OWN}::test_modes",
            "directory mask": f"{OWN}::test_modes",
            "force create mode": f"{OWN}::test_modes",
            "force directory mode": f"{OWN}::test_modes",
            "oplocks": f"{OWN}::test_oplocks",
            "kernel oplocks": f"{OWN}::test_kernel_oplocks",
            "posix locking": f"{OWN}::test_posix_locking",
            "fruit:aapl": f"{APPLE}::test_aapl_tells_what_there_is",
            "fruit:model": f"{APPLE}::test_aapl_tells_what_there_is",
            "fruit:metadata": f"{APPLE}::test_finder_info_is_kept_as_samba_keeps_it",
            "fruit:resource": f"{DOUBLES}::test_the_files_are_vetoed",
            "fruit:veto_appledouble": f"{DOUBLES}::test_the_files_are_vetoed",
            "fruit:convert_adouble": f"{DOUBLES}::test_nothing_is_changed_where_that_is_not_wanted",
            "fruit:wipe_intentionally_left_blank_rfork": f"{DOUBLES}::test_a_blank_fork_goes",
            "fruit:delete_empty_adfiles": f"{DOUBLES}::test_an_empty_one_goes_where_that_is_wanted",
            "readdir_attr:aapl_rsize": f"{DOUBLES}::test_listings_tell_its_size",
            "readdir_attr:aapl_finder_info": f"{DOUBLES}::test_listings_tell_its_size",
            "readdir_attr:aapl_max_access": f"{DOUBLES}::test_listings_tell_rights",
            "fruit:copyfile": f"{APPLE}::test_a_copy_without_chunks_is_of_all_streams",
            "fruit:nfs_aces": f"{APPLE}::test_modes_are_told_and_set_by_entries_of_the_dacl",
            "fruit:posix_rename": f"{APPLE}::test_a_folder_is_renamed_with_open_files",
            "fruit:zero_file_id": f"{APPLE}::test_listings_tell_what_finder_shows",
            "fruit:time machine": f"{APPLE}::test_time_machine_sees_a_volume_of_its_size",
            "fruit:time machine max size": f"{APPLE}::test_time_machine_sees_a_volume_of_its_size",
            "compress data": f"{OWN}::test_compress_data",
            "durable handles": f"{OWN}::test_durable_handles",
            "continuous availability": f"{CA}::test_continuous_availability",
            "persistent handles durability": f"{CA}::test_persistent_handles_durability",
            "browseable": f"{SRVSVC}::test_share_enum",
            "read only": f"{OWN}::test_path_and_read_only",
            "server smb encrypt": f"{OWN}::test_encryption_of_a_share",
            "vfs objects": f"{U}/mountd/config/test_modules.py::test_modules",
            "force user": f"{U}/mountd/test_substitute.py::test_in_force_user_and_force_group",
            "force group": f"{U}/mountd/test_substitute.py::test_in_force_user_and_force_group",
            "guest account": f"{SHARES}::test_what_lines_of_a_file_say",
            "valid users": f"{OWN}::test_who_may_connect",
            "invalid users": f"{OWN}::test_who_may_connect",
            "read list": f"{OWN}::test_who_may_write",
            "write list": f"{OWN}::test_who_may_write",
            "admin users": f"{SHARES}::test_what_lines_of_a_file_say",
            "hosts allow": f"{SHARES}::test_what_lines_of_a_file_say",
            "hosts deny": f"{OWN}::test_who_may_connect",
            "guest only": f"{U}/mountd/test_substitute.py::"
            "test_everybody_is_the_guest_where_it_says_so",
            "msdfs root": f"{DFS}::test_it_is_told_only_where_it_is_true",
            "msdfs proxy": f"{DFS}::test_paths_of_other_shares_and_of_a_proxy",
            "msdfs shuffle referrals": f"{DFS}::test_shuffled_targets",
            "available": f"{OWN}::test_sections_that_are_no_shares",
            "printable": f"{OWN}::test_sections_that_are_no_shares",
            "shadow:snapdir": f"{VERSIONS}::test_enumeration",
            "shadow:mountpoint": f"{VERSIONS}::test_enumeration",
            "shadow:basedir": f"{VERSIONS}::test_a_place_in_a_snapshot",
            "shadow:snapsharepath": f"{VERSIONS}::test_a_place_in_a_snapshot",
            "shadow:format": f"{VERSIONS}::test_formats",
            "shadow:localtime": f"{VERSIONS}::test_formats",
            "shadow:sscanf": f"{VERSIONS}::test_formats",
            "shadow:sort": f"{VERSIONS}::test_order",
            "shadow:fixinodes": f"{VERSIONS}::test_inode_numbers",
        }.items()
    },
}


def test_every_parameter_has_an_effect() -> None:
    assert EFFECTS.keys() == {(row.scope, row.name) for row in TABLE}


@pytest.mark.parametrize("place", sorted(set(EFFECTS.values())))
def test_the_tests_that_are_named_are_there(place: str) -> None:
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert name in functions
