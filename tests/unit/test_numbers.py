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
mountd.rpc.endpoint MIN_FRAGMENT=598
mountd.rpc.contexts KEEP_CONNECTION_ON_ORPHAN=2
mountd.rpc.ndr.streams FIRST_REFERENT=20000
[MS-SRVS] 2.2.2.6, 2.2.4.42, 2.2.4.105: what Windows answers where nothing is meant
mountd.rpc.platform PLATFORM_ID_NT=1F4 VERSION_MAJOR=6 VERSION_MINOR=1
mountd.rpc.interfaces.srvsvc SV_USERS_UNLIMITED=FFFFFFFF SV_DISCONNECT_MINUTES=F
mountd.rpc.interfaces.srvsvc SV_ANNOUNCE_SECONDS=F0
mountd.rpc.interfaces.srvsvc SV_ANNOUNCE_DELTA_MILLISECONDS=BB8 CLOCK_INTERVAL=136
mountd.rpc.interfaces.srvsvc SV_TYPE_SERVER_UNIX=800
mountd.rpc.interfaces.shares SHI1005_FLAGS_DFS=1 SHI1005_FLAGS_DFS_ROOT=2
mountd.rpc.interfaces.shares SHI1005_FLAGS_ENCRYPT_DATA=8000
[MS-DFSNM] 2.2.2.3, 2.2.2.4, 2.2.2.8, 3.1.4.1.3; [MS-DFSC] 2.2.3, 2.2.4, 2.2.5.4
mountd.rpc.interfaces.netdfs VOLUME_OK=1 STORAGE_ONLINE=2 MANAGER_VERSION=1
mountd.rpc.interfaces.netdfs ADD_VOLUME=1 RESTORE_VOLUME=2
protocol.wire.dfs REFERRAL_SERVERS=1 STORAGE_SERVERS=2 TARGET_FAILBACK=4 TARGET_SET_BOUNDARY=4
protocol.wire.dfs ROOT_TARGETS=1 LINK_TARGETS=0 SITE_NAME=1
mountd.rpc.interfaces.shares SHI_USES_UNLIMITED=FFFFFFFF FULL_ACCESS=1F01FF READ_ACCESS=1200A9
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
prctl(2), capset(2), seccomp(2), landlock(7), clone(2)
mountd.confine.kernel _PR_SET_PDEATHSIG=1 _PR_SET_DUMPABLE=4 _PR_CAPBSET_DROP=18
mountd.confine.kernel _PR_SET_NO_NEW_PRIVS=26 _PR_CAP_AMBIENT=2F _PR_CAP_AMBIENT_CLEAR_ALL=4
mountd.confine.kernel _CAPABILITY_VERSION_3=20080522 _LANDLOCK_CREATE_RULESET_VERSION=1
mountd.confine.kernel _NR_LANDLOCK_CREATE_RULESET=1BC _NR_LANDLOCK_RESTRICT_SELF=1BE
mountd.confine.filters _CLONE_THREAD=10000 _TYPE_MASK=F
rdma/rdma_cma.h, infiniband/verbs.h: service id of TCP, options, link layers, states, opcodes
transport.smbdirect.cm_library RDMA_PS_TCP=106 RDMA_OPTION_ID=0 RDMA_OPTION_ID_AFONLY=2
transport.smbdirect.verbs _TRANSPORT_IWARP=1 _LAYER_ETHERNET=2 _PORT_ACTIVE=4
transport.smbdirect.verbs_queue_pair _RELIABLE=2 _SIGNALED=2 _RECEIVED_WITH_IMMEDIATE=81
what the shell and the tools' documents say of exit statuses
protocol.supervisor.command EXIT_FAILURE=1
mountd.cli.common EXIT_FAILURE=1 EXIT_CONFIG=2
[MS-NLMP] 2.2.1.1, 2.2.1.3, 2.2.2.5: where flags, fields and the MIC are; what is granted
protocol.auth.ntlm_messages _NEGOTIATE_FLAGS_OFFSET=C _AUTHENTICATE_FIELDS_OFFSET=C
protocol.auth.ntlm_messages _AUTHENTICATE_FIELDS=6 _AUTHENTICATE_FLAGS_OFFSET=3C _MIC_OFFSET=48
protocol.auth.ntlm _GRANTED_FLAGS=E2088037 _CHARACTER_SETS=3 _KEPT_FLAGS=80001
protocol.auth.ntlm _CHECKSUM=8
mountd.ntlm V1_RESPONSE_SIZE=18
protocol.auth.ntlm_messages NTLM_RESPONSE_SIZE=18
mountd.rpc.security.ntlm V1_SIZE=18
mountd.rpc.security.ntlm_protection MAC_SIZE=10 _RANDOM_PAD=4
mountd.admin.passwords BUFFER=204 SALT=10
[MS-SMB2] 2.2.13, 2.2.13.1.1, 2.2.1.2: options, rights and flags; [MS-FSCC] 2.6: attributes
protocol.commands.create _REFUSED_OPTIONS=102080 _VALID_ATTRIBUTES=6FFB7 _READS=21 _DATA=27
protocol.commands.find_or_create WRITES=6 _DATA=27
protocol.commands.flush _WRITE=6
protocol.dispatch.channel_sequence _AHEAD=7FFF
protocol.dispatch.replies _ECHOED_FLAGS=20000070
protocol.state.caching.lease EPOCH_MASK=FFFF
protocol.state.caching.rules _STAT=100180 _STAT_BESIDE_LEASES=120180
protocol.state.open MODE=3E
protocol.state.store.lmdb_deaths MS=2710
protocol.state.store.lmdb_opens _DELETE=10000
protocol.state.store.lmdb_persistent MS=2710
protocol.state.store.sharing FILE_SHARE_ALL=7 _READ_ACCESS=21 _WRITE_ACCESS=6 _DELETE_ACCESS=10000
protocol.state.durable FILETIMES=989680 MS=2710
protocol.vfs.acl _SEEN=20089
protocol.vfs.acl_mapping _READS=120089 _WRITES=116 _ALWAYS=120080 _HANDED_DOWN=3 _BUILTIN=20
protocol.vfs.rights _ALWAYS=120080 _READ=9 _WRITE=116 _OWNER=C0100 CHANGES=D0156
[MS-SMB2] 2.2.35: filters
protocol.state.notify.change NAMES=3 WRITTEN=18 RENAMED=44 ANY_ATTRIBUTE=1B4
[MS-XCA] 2.1, 2.3, 2.5 and LZ4's block format: windows, lengths and codes
protocol.compression.huffman BLOCK=10000 _SYMBOLS=200 _END=100 _TABLE=100 _LONGEST=F
protocol.compression.huffman _MINIMUM_MATCH=3 _BYTE=F _WORD=FF
protocol.compression.lz77 WINDOW=2000 MINIMUM_MATCH=3 _NIBBLE=7 _BYTE=F _WORD=FF
protocol.compression.lznt1 CHUNK=1000 _COMPRESSED=8000 _SIGNATURE=3000 _MINIMUM_MATCH=3
protocol.compression.matches _LONG=F _MINIMUM_MATCH=4
AppleSingle and AppleDouble: magic, version and epoch; AFP_AfpInfo as vfs_fruit keeps it
protocol.vfs.apple SIZE=3C _FINDER_INFO=10 _FINDER_SIZE=20
protocol.vfs.apple_double MAGIC=51607 VERSION=20000 FORK_ENTRY=2 FINDER_ENTRY=9 FINDER_SIZE=20
protocol.vfs.apple _METADATA_SIZE=192 _DATES=162 _EPOCH=386D4380 _NEVER=80000000
protocol.vfs.apple _FILETIME_EPOCH=2B6109100
mountd.admin.registry_store EPOCH=2B6109100
mountd.rpc.security.ntlm _EPOCH=2B6109100
names as the kernel's SMB client and Samba's vfs_catia spell them: U+F000 to U+F07F
protocol.vfs.spelling _LITERALLY=F07F
inotify(7), rtnetlink(7), netdevice(7): sets of events, groups, sizes
protocol.state.notify.kernel_events _NAMES=3C0
protocol.state.notify.leased _CAME=180 _WENT=240 _GONE=A000 EVENTS=210003CC
protocol.supervisor.addresses RTMGRP_IPV4_IFADDR=10 RTMGRP_IPV6_IFADDR=100
protocol.state.interfaces _IFREQ=28
linux/fs.h, linux/stat.h, asm-generic/fcntl.h, signalfd(2), timerfd_create(2), mallopt(3)
protocol.vfs.abilities _FICLONERANGE=4020940D
protocol.vfs.inotify IN_CLOSE_WRITE=8
protocol.vfs.kernel RENAME_EXCHANGE=2 STATX_BTIME=800 STATX_MNT_ID=1000 _MOUNT_OFFSET=90
protocol.vfs.kernel _STATX_MASK=FFF XATTR_SIZE_MAX=10000 CAP_SYS_RESOURCE=18
protocol.vfs.kernel _CAPABILITY_VERSION_3=20080522
protocol.vfs.kernel_lease _F_SETOWN_EX=F _F_OWNER_TID=0 _SIGSET_SIZE=80
protocol.vfs.posix_acl _USER_OBJ=1 _USER=2 _GROUP_OBJ=4 _GROUP=8 _MASK=10 _OTHER=20
protocol.vfs.options NEW_FILE=1B6 NEW_DIRECTORY=1FF
protocol.vfs.volume _SPECIAL_BITS=E00
protocol.worker.allocator _M_TRIM_THRESHOLD=-1 _M_MMAP_THRESHOLD=-3 _M_ARENA_MAX=-8
transport.loop TFD_TIMER_ABSTIME=1
mountd.confine.kernel _PR_SET_CHILD_SUBREAPER=24 _NETWORK_VERSION=4 _NETWORK=3 _SCOPES_VERSION=6
mountd.confine.kernel _SCOPES=3 _SECCOMP_SET_MODE_FILTER=1 _SECCOMP_FILTER_FLAG_SPEC_ALLOW=4
mountd.identity OVERFLOW_ID=FFFE
mountd.confine.process FALLBACK_ID=FFFE
rdma/rdma_cma.h, infiniband/verbs.h: ibv_wr_opcode, retries without an end, attributes left out
transport.smbdirect.verbs_queue_pair _WRITE=0 _SEND=2 _READ=4 _SEND_INVALIDATE=9 _LEFT_OUT=44000
transport.smbdirect.verbs_requests _NEXT_OFFSET=8
transport.smbdirect.cm _FOR_EVER=7
transport.smbdirect.fabric.queue_pair RETRY_FOR_EVER=7
protocol.worker.messages ATTRIBUTES=90
mountd.ipc.sids RID_BASE=3E8
[MS-WKST] 2.2.3.1, 2.2.3.3; [MS-DSSP] 2.2.1; [MS-LSAT] 3.1.4.5; C706 appendix Q; [MS-PAC] 2.3
mountd.rpc.interfaces.wkssvc WORKGROUP_NAME=2 ALL_NAMES=2
mountd.rpc.interfaces.dssetup STANDALONE_SERVER=2
mountd.rpc.interfaces.lsarpc.lookups NO_DOMAIN=FFFFFFFF
mountd.rpc.interfaces.lsarpc.policy PRIMARY=3
mountd.rpc.interfaces.mgmt NOT_AUTHORIZED=5
mountd.rpc.interfaces.srvsvc SERVER_TYPE=9803
mountd.rpc.interfaces.srvsvc_changes MAX_USES=7FFFFFFF
mountd.rpc.interfaces.samr.base MIN_PASSWORD=1 NO_GROUP_ID=FFFE FIRST_GROUP=3E8
mountd.rpc.ndr.types MAX_SUB_AUTHORITIES=F
mountd.rpc.pdu PFC_SUPPORT_HEADER_SIGN=4
mountd.kerberos.acceptor MIN_KEY=10 MAX_KEY=20
linux/fs.h: the flags of an inode
protocol.vfs.inode_flags _GET_FLAGS=80086601 _SET_FLAGS=40086602 _COMPRESS=4
sys/quota.h, linux/dqblk_xfs.h: quotas by descriptor, in units of 1 KiB
protocol.vfs.quotactl _NR_QUOTACTL_FD=1BB USERS=0 Q_GETQUOTA=800007 Q_SETQUOTA=800008
protocol.vfs.quotactl Q_GETNEXTQUOTA=800009 Q_XGETQSTATV=5808 BLOCK=400 LIMIT_MAX=3FFFFFFFFFFFFF
protocol.vfs.quotactl _QIF_BLIMITS=1 _STATV_VERSION=1 _UDQ_ACCT=1 _UDQ_ENFD=2
[RFC4121] 2, 4.2.6, 4.2.2: tokens, usages of keys, flags; [X.690] 8: identifiers
mountd.rpc.security.kerberos SIZE=10 MIC=404 WRAP=504 SENT_BY_ACCEPTOR=1 SEALED=2
mountd.rpc.security.kerberos ACCEPTOR_SUBKEY=4 ACCEPTOR_SEAL=16 ACCEPTOR_SIGN=17
mountd.rpc.security.kerberos INITIATOR_SEAL=18 INITIATOR_SIGN=19
mountd.rpc.security.spnego ACCEPT_COMPLETED=0 ACCEPT_INCOMPLETE=1 OCTETS=4 OID=6 ENUMERATED=A
mountd.rpc.security.spnego SEQUENCE=30 APPLICATION=60
[MS-WKST] 2.2.5.11, [MS-ERREF] 2.1: what statistics take; what is switched off
mountd.rpc.interfaces.wkssvc_workstation RPC_E_REMOTE_DISABLED=8001011C STATISTICS_SIZE=D8
[MS-SCMR] 2.2.15, 3.1.4.12, 3.1.4.39: types of services, reasons of a stop, errors
mountd.rpc.interfaces.svcctl.manager TYPES=13F
mountd.rpc.interfaces.svcctl.service ENUM_VALUE_OUT_OF_RANGE=6F5 TRIGGERS=8
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


def test_numbers_are_the_documents() -> None:
    wrong = []
    for module, name, value in typed_again():
        found = getattr(importlib.import_module(f"usmbd.{module}"), name)
        if getattr(found, "value", found) != value:  # some are kept as C integers
            wrong.append(f"{module}.{name} is {found}")
    assert not wrong


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


def test_system_calls_have_their_names() -> None:
    """What /proc shows of a process that hangs is told by these."""
    seccomp = pytest.importorskip("pyseccomp")
    newer = {"getxattrat": 464, "listxattrat": 465}  # than the library
    machines = {"x86_64": seccomp.Arch.X86_64, "aarch64": seccomp.Arch.AARCH64}
    for table in (hanging._ON_DESCRIPTOR, hanging._OTHERS):
        for machine, arch in machines.items():
            for number, name in table[machine].items():
                known = seccomp.resolve_syscall(arch, name)
                assert number == (newer.get(name, -1) if known < 0 else known), name
        names = {machine: set(table[machine].values()) for machine in machines}
        assert names["x86_64"] - names["aarch64"] <= {"stat", "epoll_wait"}  # not asm-generic's
        assert not names["aarch64"] - names["x86_64"]
