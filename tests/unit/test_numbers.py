"""Numbers of the documents and of the kernel, by other implementations of them or typed again.

Those of protocol/wire and of NTLM are in protocol/wire/test_constants.py.
"""

import importlib

import pytest
from impacket import nt_errors, system_errors
from impacket.dcerpc.v5 import rpcrt, srvs

from usmbd.mountd.confine.kernel import Capability
from usmbd.mountd.rpc import errors, pdu
from usmbd.mountd.rpc.interfaces import shares, srvsvc
from usmbd.protocol.supervisor import hanging
from usmbd.transport.smbdirect import pdu as smbd_pdu

TYPED_AGAIN = """
[X.690] 8.1.2, 8.4: identifiers of universal types, and of a constructed application type
protocol.auth.der OCTET_STRING=4 OBJECT_IDENTIFIER=6 ENUMERATED=A GENERAL_STRING=1B SEQUENCE=30
protocol.auth.der APPLICATION_0=60
[RFC4178] 4.2.2: negState
protocol.auth.spnego_messages ACCEPT_COMPLETED=0 ACCEPT_INCOMPLETE=1 REQUEST_MIC=3
[RFC1002] 4.3: the NetBIOS session service's packets; names of 255 bytes
protocol.door.doorkeeper _FRAME=4 _SESSION_REQUEST=81 _SESSION_REQUEST_LIMIT=1FE
transport.tcp FRAME=4 KEEP_ALIVE_FRAME=85000000
[MS-SMB2] 2.2.41, 3.1.4.1: nonces and signatures
protocol.crypto.encryption TAG_SIZE=10 _CCM_NONCE_SIZE=B _GCM_NONCE_SIZE=C
protocol.crypto.signing SIGNATURE_SIZE=10 _GMAC_FROM_SERVER=1 _GMAC_IS_CANCEL=2
protocol.crypto.kdf SESSION_KEY_SIZE=10
protocol.crypto.preauth HASH_SIZE=40
[MS-SMB2] 2.2.3.1.1: a salt of 32 bytes; 3.3.5.2.5: a credit pays for 64 KiB
protocol.commands.negotiate SALT_SIZE=20
protocol.state.connection CREDIT_SIZE=10000
[MS-NLMP] 3.3.2: challenge and proof; an NTLMv2 response has 28 bytes before its pairs
protocol.auth.ntlm CHALLENGE_SIZE=8
mountd.ntlm PROOF_SIZE=10 MIN_NT_RESPONSE=2C
mountd.users NT_HASH_SIZE=10
[MS-SMB2] 2.2.13: what an option, an access and an attribute may be
protocol.commands.create _VALID_OPTIONS=FFFFFF _VALID_ACCESS=F31F01FF
protocol.commands.write WRITE_TO_END=FFFFFFFFFFFFFFFF
protocol.vfs.node OFFSET_MAX=7FFFFFFFFFFFFFFF
[MS-SMBD] 2.2, 3.1.1.1: sizes of the messages, and the least of what is negotiated
transport.smbdirect.pdu VERSION=100 RESPONSE_REQUESTED=1 DATA_TRANSFER_SIZE=14 DATA_OFFSET=18
transport.smbdirect.pdu NEGOTIATE_REQUEST_SIZE=14 NEGOTIATE_RESPONSE_SIZE=20 STATUS_SUCCESS=0
transport.smbdirect.limits MIN_RECEIVE_SIZE=80 MIN_FRAGMENTED_SIZE=20000 MAX_U16=FFFF
transport.smbdirect.limits MAX_U32=FFFFFFFF
protocol.supervisor.rdma_service IWARP_PORT=1545
C706 12.6.3.1: the header of a PDU and its flags
mountd.rpc.pdu HEADER_SIZE=10 PFC_DID_NOT_EXECUTE=20 PFC_OBJECT_UUID=80
mountd.rpc.endpoint MIN_FRAGMENT=598 KEEP_CONNECTION_ON_ORPHAN=2
mountd.rpc.ndr.streams FIRST_REFERENT=20000
[MS-SRVS] 2.2.2.6, 2.2.4.42, 2.2.4.105: what Windows answers where nothing is meant
mountd.rpc.platform PLATFORM_ID_NT=1F4 VERSION_MAJOR=6 VERSION_MINOR=1
mountd.rpc.interfaces.srvsvc SV_USERS_UNLIMITED=FFFFFFFF SV_DISCONNECT_MINUTES=F
mountd.rpc.interfaces.srvsvc SV_ANNOUNCE_SECONDS=F0
mountd.rpc.interfaces.srvsvc SV_ANNOUNCE_DELTA_MILLISECONDS=BB8 CLOCK_INTERVAL=136
mountd.rpc.interfaces.srvsvc SV_TYPE_SERVER_UNIX=800
mountd.rpc.interfaces.shares SHI1005_FLAGS_DFS=1 SHI1005_FLAGS_DFS_ROOT=2 CSC_CACHE_MANUAL_REINT=0
mountd.rpc.interfaces.shares SHI1005_FLAGS_ENCRYPT_DATA=8000
[MS-DFSNM] 2.2.2.3, 2.2.2.4, 2.2.2.8, 3.1.4.1.3; [MS-DFSC] 2.2.3, 2.2.4, 2.2.5.4
mountd.rpc.interfaces.netdfs VOLUME_OK=1 STORAGE_ONLINE=2 MANAGER_VERSION=1
mountd.rpc.interfaces.netdfs ADD_VOLUME=1 RESTORE_VOLUME=2
protocol.wire.dfs REFERRAL_SERVERS=1 STORAGE_SERVERS=2 TARGET_FAILBACK=4 TARGET_SET_BOUNDARY=4
protocol.wire.dfs ROOT_TARGETS=1 LINK_TARGETS=0 SITE_NAME=1
mountd.rpc.interfaces.shares SHI_USES_UNLIMITED=FFFFFFFF FULL_ACCESS=1F01FF READ_ACCESS=1200A9
mountd.rpc.interfaces.shares SE_DACL_PRESENT_SELF_RELATIVE=8004
[MS-FSCC] 2.4: the unit of a sector where a file system says none; stat(2): the unit of st_blocks
protocol.commands.query_info SECTOR=200
protocol.vfs.smb_stat _BLOCK=200
inotify(7), netdevice(7)
protocol.vfs.inotify IN_MODIFY=2 IN_ATTRIB=4 IN_MOVED_FROM=40 IN_MOVED_TO=80 IN_CREATE=100
protocol.vfs.inotify IN_DELETE=200 IN_UNMOUNT=2000 IN_Q_OVERFLOW=4000 IN_IGNORED=8000
protocol.vfs.inotify IN_ONLYDIR=1000000 IN_MASK_ADD=20000000 IN_ISDIR=40000000
protocol.vfs.directory_names _WATCHED=10003C0
protocol.state.interfaces _SIOCGIFCONF=8912
openat2(2), renameat2(2), fallocate(2), open(2), utimensat(2), inode(7)
protocol.vfs.kernel RESOLVE_NO_XDEV=1 RESOLVE_NO_MAGICLINKS=2 RESOLVE_NO_SYMLINKS=4
protocol.vfs.kernel RESOLVE_BENEATH=8
protocol.vfs.kernel RENAME_NOREPLACE=1 FALLOC_FL_KEEP_SIZE=1 FALLOC_FL_PUNCH_HOLE=2
protocol.vfs.kernel FALLOC_FL_ZERO_RANGE=10
protocol.vfs.kernel _AT_FDCWD=-64 _AT_EACCESS=200 _AT_EMPTY_PATH=1000 _UTIME_OMIT=3FFFFFFE
protocol.vfs.kernel _AT_SYMLINK_NOFOLLOW=100 _EMPTY_PATH=1000 _EFFECTIVE_EMPTY_PATH=1200
protocol.vfs.kernel _EFFECTIVE_AT=1300 _NR_OPENAT2=1B5 _NR_FACCESSAT2=1B7 _NR_GETXATTRAT=1D0
protocol.vfs.rights _STICKY=200
acl(5), linux/posix_acl_xattr.h
protocol.vfs.posix_acl READ=4 WRITE=2 EXECUTE=1 _VERSION=2 _NO_ID=FFFFFFFF
xattr_DosInfo of Samba's librpc/idl/xattr.idl
protocol.vfs.dos_attributes _VALID_ATTRIB=1 _VALID_CREATE_TIME=10
prctl(2), capset(2), landlock(7), clone(2)
mountd.confine.kernel _PR_SET_PDEATHSIG=1 _PR_SET_DUMPABLE=4 _PR_CAPBSET_READ=17 _PR_CAPBSET_DROP=18
mountd.confine.kernel _PR_SET_NO_NEW_PRIVS=26 _PR_CAP_AMBIENT=2F _PR_CAP_AMBIENT_CLEAR_ALL=4
mountd.confine.kernel _CAPABILITY_VERSION_3=20080522 _LANDLOCK_CREATE_RULESET_VERSION=1
mountd.confine.kernel _NR_LANDLOCK_CREATE_RULESET=1BC _NR_LANDLOCK_RESTRICT_SELF=1BE
mountd.confine.filters _CLONE_THREAD=10000 _TYPE_MASK=F
rdma/rdma_cma.h, infiniband/verbs.h: service id of TCP, options, link layers, states, opcodes
transport.smbdirect.cm_library RDMA_PS_TCP=106 RDMA_OPTION_ID=0 RDMA_OPTION_ID_AFONLY=2
transport.smbdirect.verbs _TRANSPORT_IWARP=1 _LAYER_ETHERNET=2 _PORT_ACTIVE=4
transport.smbdirect.verbs_queue_pair _RELIABLE=2 _SIGNALED=2 _RECEIVED_WITH_IMMEDIATE=81
what the shell and the tools' documents say of exit statuses
protocol.supervisor.main EXIT_FAILURE=1 EXIT_INTERRUPTED=82
mountd.cli.common EXIT_FAILURE=1 EXIT_CONFIG=2
IANA: the port of SMB
mountd.cli.quickstart SMB_PORT=1BD
"""


def typed_again() -> list[tuple[str, str, int]]:
    """Return module, name and value of each."""
    found = []
    for line in TYPED_AGAIN.splitlines():
        module, _, numbers = line.partition(" ")
        if "=" in numbers:
            pairs = [each.split("=") for each in numbers.split()]
            found += [(module, name, int(value, 16)) for name, value in pairs]
    return found


@pytest.mark.parametrize("number", typed_again(), ids=lambda each: f"{each[0]}.{each[1]}")
def test_a_number_is_the_document_s(number: tuple[str, str, int]) -> None:
    module, name, value = number
    found = getattr(importlib.import_module(f"usmbd.{module}"), name)
    assert getattr(found, "value", found) == value  # some are kept as C integers


def test_rpc_is_impacket_s() -> None:
    for name, theirs in {
        "PFC_FIRST_FRAG": rpcrt.PFC_FIRST_FRAG,
        "PFC_LAST_FRAG": rpcrt.PFC_LAST_FRAG,
    }.items():
        assert getattr(pdu, name) == theirs, name
    for kind, theirs in {
        "REQUEST": rpcrt.MSRPC_REQUEST,
        "RESPONSE": rpcrt.MSRPC_RESPONSE,
        "FAULT": rpcrt.MSRPC_FAULT,
        "BIND": rpcrt.MSRPC_BIND,
        "BIND_ACK": rpcrt.MSRPC_BINDACK,
        "BIND_NAK": rpcrt.MSRPC_BINDNAK,
        "ALTER_CONTEXT": rpcrt.MSRPC_ALTERCTX,
        "ALTER_CONTEXT_RESP": rpcrt.MSRPC_ALTERCTX_R,
        "AUTH3": rpcrt.MSRPC_AUTH3,
        "SHUTDOWN": rpcrt.MSRPC_SHUTDOWN,
        "CO_CANCEL": rpcrt.MSRPC_CO_CANCEL,
        "ORPHANED": rpcrt.MSRPC_ORPHANED,
    }.items():
        assert pdu.PduType[kind] == theirs, kind


def test_faults_are_those_of_c706() -> None:
    assert {each.name: each.value for each in pdu.Fault} == {  # appendix E, [MS-RPCE] 3.1.1.5.5
        "ACCESS_DENIED": 0x5,
        "BAD_STUB_DATA": 0x6F7,
        "OP_RNG_ERROR": 0x1C010002,
        "UNK_IF": 0x1C010003,
        "PROTO_ERROR": 0x1C01000B,
        "SERVER_TOO_BUSY": 0x1C010014,
        "UNSPECIFIED": 0x1C000012,
        "CONTEXT_MISMATCH": 0x1C00001A,
        "REMOTE_NO_MEMORY": 0x1C00001B,
    }


def test_srvsvc_is_impacket_s() -> None:
    for place, names in (
        (shares, ("STYPE_DISKTREE", "STYPE_IPC", "STYPE_SPECIAL")),
        (srvsvc, ("SV_TYPE_WORKSTATION", "SV_TYPE_SERVER", "SV_TYPE_NT", "SV_TYPE_SERVER_NT")),
    ):
        for name in names:
            assert getattr(place, name) == getattr(srvs, name), name


def test_errors_are_windows() -> None:
    for name in (
        *("ERROR_SUCCESS", "ERROR_ACCESS_DENIED", "ERROR_INVALID_PARAMETER"),
        *("ERROR_INVALID_LEVEL", "ERROR_MORE_DATA"),
    ):
        assert getattr(errors, name) == getattr(system_errors, name), name
    assert errors.NERR_NET_NAME_NOT_FOUND == 2100 + 210  # lmerr.h: NERR_BASE + 210
    for name in ("STATUS_INSUFFICIENT_RESOURCES", "STATUS_NOT_SUPPORTED"):
        assert getattr(smbd_pdu, name) == getattr(nt_errors, name), name


def test_capabilities_are_the_kernel_s() -> None:
    known = {
        **{
            "CHOWN": 0,
            "DAC_OVERRIDE": 1,
            "DAC_READ_SEARCH": 2,
            "FOWNER": 3,
            "FSETID": 4,
            "KILL": 5,
        },
        **{"SETGID": 6, "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "IPC_LOCK": 14},
        **{"SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYS_RESOURCE": 24},
    }
    assert {each.name: each.value for each in Capability} == known  # capabilities(7)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_system_calls_have_their_names(machine: str) -> None:
    """What /proc shows of a process that hangs is told by these."""
    seccomp = pytest.importorskip("pyseccomp")
    arch = {"x86_64": seccomp.Arch.X86_64, "aarch64": seccomp.Arch.AARCH64}[machine]
    newer = {"getxattrat": 464}  # than the library
    for table in (hanging._ON_DESCRIPTOR[machine], hanging._OTHERS[machine]):
        for number, name in table.items():
            known = seccomp.resolve_syscall(arch, name)
            assert number == (newer.get(name, -1) if known < 0 else known), name
