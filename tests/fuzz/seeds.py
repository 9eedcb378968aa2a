"""Good inputs for the targets to begin with, built by the builders of the tests and of clients."""

import struct
import sys
from functools import cache
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "mountd" / "rpc"))

import msgspec
import rpc_client
import spnego
from governed import RPC_PIPES
from impacket.dcerpc.v5 import even, rrp, scmr, srvs
from impacket.dcerpc.v5.dtypes import NULL
from smbengine import requests
from smbtest.tickets import Pac, _logon_info
from targets import CHALLENGE, NAMES, NOW

from usmbd.mountd.ipc import codec
from usmbd.mountd.ipc.messages import (
    AnonymousRequest,
    DebugAreas,
    HeldTree,
    LimitsRequest,
    LoginRequest,
    Logout,
    Message,
    RpcOpen,
    RpcResponse,
    RpcStatus,
    ServerConfigRequest,
    SessionRequest,
    ShareConfigRequest,
    TreeConnectRequest,
    TreeDisconnect,
    TreesHeld,
)
from usmbd.protocol.auth.spnego import Acceptor, Challenge
from usmbd.protocol.compression.transform import Compression, compress, whole
from usmbd.protocol.door import messages as door_messages
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire import create_contexts, security
from usmbd.protocol.wire.create import FILE_OPEN_IF
from usmbd.protocol.wire.fscc import ea
from usmbd.protocol.wire.fscc.file_info import FileAllInformation
from usmbd.protocol.wire.header import Command, Header
from usmbd.protocol.wire.negotiate import NegotiateRequest
from usmbd.protocol.worker import messages as worker_messages

SAME = (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""The FileId of the CREATE before it in a related compound ([MS-SMB2] 3.3.5.2.7.2)."""

INI = """[global]
    workgroup = HOME
    server signing = mandatory
    workers = 2
    hosts allow = 127. 10.0.0.0/255.0.0.0 EXCEPT 10.1.2.3
    interfaces = lo eth0;speed=1000000000
    map to guest = bad user
[projects]
    path = /srv/%u
    valid users = @staff alice
    create mask = 0640
    veto files = /*.exe/.*/
    vfs objects = acl_xattr streams_xattr
; a comment
[homes]
    read only = no \\
"""
YAML = """global:
  workgroup: HOME
  workers: 2
  hosts allow: [127., 10.0.0.0/8]
shares:
  projects:
    path: /srv
    read only: no
    valid users: [alice, '@staff']
"""


def joined(*messages: bytes) -> bytes:
    """Return messages as `targets.pieces` cuts them."""
    return b"".join(struct.pack("<H", len(message)) + message for message in messages)


@cache
def seeds() -> dict[str, list[bytes]]:
    """Return inputs by target."""
    contexts = create_contexts.build_contexts(
        [(b"MxAc", b""), (b"AlSi", bytes(8)), (b"RqLs", bytes(32)), (b"DH2Q", bytes(32))]
    )
    attributes = [ea.ExtendedAttribute("USER.ONE", b"1", 0), ea.ExtendedAttribute("TWO", b"", 0)]
    whole = requests.create("file", disposition=FILE_OPEN_IF)
    return {
        "frame": [joined(b"\0\0\0\4abcd\0\0\0", b"\2xy", b"\x85\0\0\0", b"\0\1\0\0" + bytes(256))],
        "header": [
            joined(_header(Command.NEGOTIATE) + _negotiate(), _header(Command.ECHO) + b"\4\0\0\0"),
            joined(_header(Command.SESSION_SETUP, next_command=64) + _header(Command.LOGOFF)),
        ],
        "negotiate": [joined(_negotiate(), _negotiate())],
        "command": [
            joined(b"\5" + whole, *(bytes([number]) + body for number, body in _commands()))
        ]
        + [joined(b"\5" + whole, bytes([number]) + body) for number, body in _commands()],
        "session_setup": [joined(*_login("ntlm")), joined(*_login("negotiate"))],
        "ntlm": [_login("ntlm")[1]],
        "der_encoding": _login("negotiate"),
        "bind_tokens": _login("negotiate"),
        "contexts": [contexts],
        "extended_attributes": [ea.build_full_eas(attributes), b"\x0f" + bytes(40)],
        "descriptor": [_descriptor()],
        "rpc": [b"\1" + joined(*calls) for calls in _calls()] + _administrators_calls(),
        "ipc": _ipc(),
        "door": _door(),
        "mountd": [joined(*_mountd())] + [joined(message) for message in _mountd()],
        "compression": [message[4:] for message in _compressed()],
        "smbdirect": [joined(struct.pack("<HHHHIIIII", 1, 9, 0, 0, 0, 24, 4, 0, 0) + b"data")],
        "referral": _referrals(),
        "pac": [
            _logon_info(Pac(extra=extra, resource=resource), "alice")
            for extra in ((), ("S-1-18-1", "S-1-5-21-7-8-9-1000"))
            for resource in (("", ()), ("S-1-5-21-1-2-3", (1300, 1301)))
        ],
        "ini": [INI.encode(), *(line.encode() for line in INI.splitlines(keepends=True))],
        "yaml": [YAML.encode(), b"global: {workgroup: A}\n", b"shares: {a: {path: /}}\n"],
    }


def _compressed() -> list[bytes]:
    """Return compressed messages of each algorithm."""
    data = memoryview(b"a line that comes again and again\n" * 300)
    messages = []
    for number in (1, 2, 3, 5):
        for chained in (False, True):
            one = Compression((number, 4), chained)
            payloads = whole(compress(data, one))
            assert payloads is not None
            messages.append(b"".join(payloads.message(bytes(80))))
    return messages


def _referrals() -> list[bytes]:
    """Return questions for what is there and what is not, in both forms."""
    found = []
    for path in (
        "\\NAS\\root",
        "\\NAS\\root\\link\\more",
        "\\NAS\\away\\x",
        "\\NAS\\root\\folder\\within",
    ):
        name = path.encode("utf-16-le")
        found += [b"\0" + struct.pack("<H", level) + name + bytes(2) for level in (1, 2, 3, 4)]
        site = "there".encode("utf-16-le")
        body = struct.pack("<H", len(name)) + name + struct.pack("<H", len(site)) + site
        found.append(b"\xff" + struct.pack("<HHI", 4, 1, len(body)) + body)
    return found


def _header(command: int, **fields: int) -> bytes:
    return Header(command=command, credits=1, signature=bytes(16), **fields).pack()


def _negotiate() -> bytes:
    request = NegotiateRequest(
        dialect_count=2,
        security_mode=1,
        capabilities=0,
        client_guid=bytes(16),
        negotiate_context_offset=104,
        negotiate_context_count=1,
    )
    preauth = struct.pack("<HHI", 1, 6, 0) + struct.pack("<HHH", 1, 0, 1)
    return request.pack() + struct.pack("<HH", 0x202, 0x311) + preauth


def _commands() -> list[tuple[int, bytes]]:
    return [
        (Command.WRITE, requests.write(SAME, b"data", 3)),
        (Command.READ, requests.read(SAME, 9)),
        (Command.LOCK, requests.lock(SAME, (0, 10, 3), (20, 1, 2))),
        (Command.QUERY_INFO, requests.query_info(SAME, FileAllInformation)),
        (Command.SET_INFO, requests.set_info(SAME, 20, struct.pack("<Q", 5))),
        (Command.SET_INFO, requests.set_info(SAME, 10, bytes(16) + b"\4\0\0\0n\0w\0")),
        (Command.IOCTL, requests.ioctl(SAME, 0x000900C4)),
        (Command.QUERY_DIRECTORY, requests.query_directory(SAME, 37)),
        (Command.FLUSH, requests.flush(SAME)),
        (Command.CLOSE, requests.close(SAME, 1)),
    ]


def _login(protocol: str) -> list[bytes]:
    """Return a client's tokens to an acceptor whose challenge is always the same."""
    kinds = spnego.NegotiateOptions
    options = kinds.use_ntlm if protocol == "ntlm" else kinds.use_negotiate
    client = spnego.client("alice", "secret", hostname="nas", protocol=protocol, options=options)
    acceptor = Acceptor(NAMES, NOW, CHALLENGE)
    tokens = [client.step() or b""]
    answer = acceptor.step(tokens[0])
    assert isinstance(answer, Challenge)
    tokens.append(client.step(answer.token) or b"")
    return tokens


def _descriptor() -> bytes:
    everyone = bytes.fromhex("010100000000000100000000")
    ace = security.Ace.parse(struct.pack("<BBHI", 0, 3, 20, 0x1F01FF) + everyone)
    acl = security.Acl(aces=(ace,), revision=2).pack()
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 32, 0, 44)
    return head + everyone + everyone + acl


def _calls() -> list[list[bytes]]:
    bind = rpc_client.bind((0, rpc_client.SRVSVC, [rpc_client.NDR]))
    request = srvs.NetrShareEnum()
    request["ServerName"] = "\\\\nas\x00"
    request["PreferedMaximumLength"] = 0xFFFFFFFF
    request["InfoStruct"]["Level"] = 1
    request["InfoStruct"]["ShareInfo"]["tag"] = 1
    request["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"] = b""
    information = srvs.NetrShareGetInfo()
    information["ServerName"] = "\\\\nas\x00"
    information["NetName"] = "data\x00"
    information["Level"] = 2
    return [
        [bind, rpc_client.request(15, request.getData())],
        [bind, rpc_client.request(16, information.getData())],
        [bind, rpc_client.request(21, b"\0\0\2\0" + bytes(16))],
    ]


def _administrators_calls() -> list[bytes]:
    """Return calls of the registry, of services and of event logs, by impacket."""
    key = rrp.BaseRegCreateKey()
    key["lpSubKey"], key["lpClass"] = "SOFTWARE\\A\0", NULL
    key["lpSecurityAttributes"], key["lpdwDisposition"] = NULL, 1
    value = rrp.BaseRegSetValue()
    value["lpValueName"], value["dwType"], value["lpData"], value["cbData"] = "a\0", 1, b"x\0", 2
    query = rrp.BaseRegQueryValue()
    query["lpValueName"], query["lpData"] = "a\0", b"x" * 8
    query["lpcbData"] = query["lpcbLen"] = 8
    machine = rrp.OpenLocalMachine()
    machine["ServerName"] = NULL
    manager = scmr.ROpenSCManagerW()
    manager["lpMachineName"], manager["lpDatabaseName"] = "nas\0", "ServicesActive\0"
    manager["dwDesiredAccess"] = 0x02000000
    listed = scmr.REnumServicesStatusW()
    listed["dwServiceType"], listed["dwServiceState"], listed["cbBufSize"] = 0x30, 3, 200
    listed["lpResumeIndex"] = 0
    change = scmr.RChangeServiceConfigW()
    for field in ("lpBinaryPathName", "lpDisplayName"):
        change[field] = "x\0"
    absent = ("lpLoadOrderGroup", "lpdwTagId", "lpDependencies", "lpServiceStartName", "lpPassword")
    for field in absent:
        change[field] = NULL
    log = even.ElfrOpenELW()
    log["UNCServerName"], log["ModuleName"], log["RegModuleName"] = NULL, "System", ""
    read = even.ElfrReadELW()
    read["ReadFlags"], read["NumberOfBytesToRead"] = 5, 100
    clear = even.ElfrClearELFW()
    clear["BackupFileName"] = "C:\\x"
    for each in (key, value, query):
        each["hKey"]["context_handle_attributes"] = 0
        each["hKey"]["context_handle_uuid"] = bytes(16)
    for each in (listed, change, read, clear):
        for handle in {"hSCManager", "hService", "LogHandle"} & each.fields.keys():
            each[handle] = bytes(20)
    made: list[bytes] = []
    for pipe, requests_of in (
        ("winreg", (machine, key, value, query)),
        ("svcctl", (manager, listed, change)),
        ("eventlog", (log, read, clear)),
    ):
        uuid, version = _INTERFACES[pipe]
        bind = rpc_client.bind((0, (UUID(uuid), version), [rpc_client.NDR]))
        first = bytes([RPC_PIPES.index(pipe)])
        calls = [rpc_client.request(each.opnum, each.getData()) for each in requests_of]
        made += [first + joined(bind, call) for call in calls] + [first + joined(bind, *calls)]
    return made


_INTERFACES = {
    "winreg": ("338cd001-2244-31f1-aaaa-900038001003", 1),
    "svcctl": ("367abb81-9844-35f1-ad32-98f038001003", 2),
    "eventlog": ("82273fdc-e32a-18c3-3f78-827929dc23ea", 0),
}


def _door() -> list[bytes]:
    first = _header(Command.NEGOTIATE) + _negotiate()
    frame = struct.pack(">I", len(first)) + first
    return [
        joined(frame),
        joined(b"\x81\0\0\x44" + bytes(68), frame[:50], frame[50:]),
        door_messages.encode(door_messages.Client(bytes(16), first)),
        door_messages.encode(door_messages.State(1, 2, 3)),
        door_messages.encode(door_messages.Log(1, False, ["smb"])),
        msgspec.msgpack.encode(worker_messages.Admitted(7, Standing.GUEST)),
        msgspec.msgpack.encode(worker_messages.Dismiss(7, "no place", Standing.GUEST)),
    ]


def _mountd() -> list[bytes]:
    login = LoginRequest("alice", "HOME", "PC", CHALLENGE, bytes(48), "192.0.2.1")
    tree = TreeConnectRequest(
        session_id=1,
        tree_id=1,
        share="DATA",
        user="alice",
        uid=1000,
        gid=1000,
        groups=[100],
        client_address="192.0.2.1",
        server_address="192.0.2.2",
    )
    asked: list[Message] = [
        *(login, AnonymousRequest("192.0.2.1"), SessionRequest("alice", 3), Logout(1), tree),
        *(ServerConfigRequest(), ShareConfigRequest("data"), TreeDisconnect(1, 1)),
        *(TreesHeld([HeldTree(1, 1, "data", True)]), DebugAreas(["smb"], True), LimitsRequest()),
        msgspec.structs.replace(tree, share="homes"),
        msgspec.structs.replace(tree, share="forced", guest=True),
    ]
    return [codec.mountd_client().encode(1, message) for message in asked]


def _ipc() -> list[bytes]:
    login = LoginRequest("alice", "HOME", "PC", CHALLENGE, bytes(48), "192.0.2.1")
    return [
        codec.mountd_client().encode(1, login),
        codec.rpc_client().encode(2, RpcOpen(1, "srvsvc", "alice")),
        codec.rpc_server().encode(2, RpcResponse(RpcStatus.OK, b"data")),
    ]
