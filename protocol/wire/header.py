"""The SMB2 header and the headers that wrap a message ([MS-SMB2] 2.2.1, 2.2.41, 2.2.42)."""

from enum import IntEnum

from usmbd.protocol.wire.base import Wire, bytes4, bytes16, u8, u16, u32, u64

SMB1_PROTOCOL_ID = b"\xffSMB"
SMB2_PROTOCOL_ID = b"\xfeSMB"
TRANSFORM_PROTOCOL_ID = b"\xfdSMB"
COMPRESSION_PROTOCOL_ID = b"\xfcSMB"

HEADER_SIZE = 64
# Where fields lie that are patched or looked at without parsing the header.
COMMAND_OFFSET = 12
FLAGS_OFFSET = 16
NEXT_COMMAND_OFFSET = 20
SIGNATURE_OFFSET = 48

# Flags ([MS-SMB2] 2.2.1.2)
SMB2_FLAGS_SERVER_TO_REDIR = 0x00000001
SMB2_FLAGS_ASYNC_COMMAND = 0x00000002
SMB2_FLAGS_RELATED_OPERATIONS = 0x00000004
SMB2_FLAGS_SIGNED = 0x00000008
SMB2_FLAGS_PRIORITY_MASK = 0x00000070
SMB2_FLAGS_DFS_OPERATIONS = 0x10000000
SMB2_FLAGS_REPLAY_OPERATION = 0x20000000

# A MessageId of all ones marks what the server sends unasked: an oplock or lease break.
UNSOLICITED_MESSAGE_ID = 0xFFFFFFFFFFFFFFFF
# Stands for "the one before" in a related compound request ([MS-SMB2] 3.3.5.2.7.2).
RELATED_ID = 0xFFFFFFFFFFFFFFFF
RELATED_TREE_ID = 0xFFFFFFFF

# What a server that does not use the field puts into Reserved/ProcessId ([MS-SMB2] 2.2.1.2).
PROCESS_ID = 0x0000FEFF


class Command(IntEnum):
    """Command codes ([MS-SMB2] 2.2.1.2), named without the prefix `SMB2_`."""

    NEGOTIATE = 0x0000
    SESSION_SETUP = 0x0001
    LOGOFF = 0x0002
    TREE_CONNECT = 0x0003
    TREE_DISCONNECT = 0x0004
    CREATE = 0x0005
    CLOSE = 0x0006
    FLUSH = 0x0007
    READ = 0x0008
    WRITE = 0x0009
    LOCK = 0x000A
    IOCTL = 0x000B
    CANCEL = 0x000C
    ECHO = 0x000D
    QUERY_DIRECTORY = 0x000E
    CHANGE_NOTIFY = 0x000F
    QUERY_INFO = 0x0010
    SET_INFO = 0x0011
    OPLOCK_BREAK = 0x0012
    SERVER_TO_CLIENT_NOTIFICATION = 0x0013


class Header(Wire, size=64):
    """SMB2 header, synchronous and asynchronous form ([MS-SMB2] 2.2.1.1, 2.2.1.2).

    In a request of 3.x `status` holds ChannelSequence in its low 16 bits. `credits` is
    CreditRequest or CreditResponse. In the asynchronous form `process_id` and `tree_id`
    are the two halves of AsyncId: read and set it by `async_id`.
    """

    protocol_id: bytes4 = SMB2_PROTOCOL_ID
    structure_size: u16 = 64
    credit_charge: u16 = 0
    status: u32 = 0
    command: u16
    credits: u16 = 0
    flags: u32 = 0
    next_command: u32 = 0
    message_id: u64 = 0
    process_id: u32 = PROCESS_ID
    tree_id: u32 = 0
    session_id: u64 = 0
    signature: bytes16 = bytes(16)

    @property
    def async_id(self) -> int:
        """AsyncId; meaningful when SMB2_FLAGS_ASYNC_COMMAND is set."""
        return self.process_id | self.tree_id << 32

    @async_id.setter
    def async_id(self, value: int) -> None:
        self.process_id = value & 0xFFFFFFFF
        self.tree_id = value >> 32

    @property
    def channel_sequence(self) -> int:
        """ChannelSequence of a request in the 3.x dialects."""
        return self.status & 0xFFFF


# Flags/EncryptionAlgorithm of the transform header ([MS-SMB2] 2.2.41)
SMB2_TRANSFORM_ENCRYPTED = 0x0001


class TransformHeader(Wire, size=52):
    """SMB2 TRANSFORM_HEADER of an encrypted message ([MS-SMB2] 2.2.41).

    The signature covers the 32 bytes from `nonce` on (ASSOCIATED_DATA_OFFSET) and the
    message. `nonce` holds 11 bytes for CCM and 12 for GCM, zeros behind.
    """

    protocol_id: bytes4 = TRANSFORM_PROTOCOL_ID
    signature: bytes16 = bytes(16)
    nonce: bytes16
    original_message_size: u32
    reserved: u16 = 0
    flags: u16 = SMB2_TRANSFORM_ENCRYPTED
    session_id: u64


ASSOCIATED_DATA_OFFSET = 20

# Flags of the compression header ([MS-SMB2] 2.2.42)
SMB2_COMPRESSION_FLAG_NONE = 0x0000
SMB2_COMPRESSION_FLAG_CHAINED = 0x0001


class CompressionTransformHeader(Wire, size=16):
    """SMB2 COMPRESSION_TRANSFORM_HEADER_UNCHAINED ([MS-SMB2] 2.2.42.1)."""

    protocol_id: bytes4 = COMPRESSION_PROTOCOL_ID
    original_compressed_segment_size: u32
    compression_algorithm: u16
    flags: u16 = SMB2_COMPRESSION_FLAG_NONE
    offset: u32 = 0


class CompressionChainedHeader(Wire, size=8):
    """SMB2 COMPRESSION_TRANSFORM_HEADER_CHAINED without its payloads ([MS-SMB2] 2.2.42.2)."""

    protocol_id: bytes4 = COMPRESSION_PROTOCOL_ID
    original_compressed_segment_size: u32


class CompressionPayloadHeader(Wire, size=8):
    """SMB2_COMPRESSION_CHAINED_PAYLOAD_HEADER ([MS-SMB2] 2.2.42.2.1).

    For the LZ algorithms `length` counts the OriginalPayloadSize (u32) that follows.
    """

    compression_algorithm: u16
    flags: u16 = 0
    length: u32


class CompressionPatternV1(Wire, size=8):
    """SMB2_COMPRESSION_PATTERN_PAYLOAD_V1 ([MS-SMB2] 2.2.42.2.2): one byte, repeated."""

    pattern: u8
    reserved1: u8 = 0
    reserved2: u16 = 0
    repetitions: u32
