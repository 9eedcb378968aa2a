"""ERROR Responses as an independent client reads them."""

from smbprotocol import exceptions as peer

from usmbd.protocol.wire import error


def test_empty_error_has_one_byte_of_data() -> None:
    assert error.build_error_response() == b"\x09" + bytes(8)
    assert error.build_error_response(contexts=True) == b"\x09" + bytes(8)


def test_data_without_contexts() -> None:
    response = peer.SMB2ErrorResponse()
    response.unpack(error.build_error_response(error.buffer_too_small_data(120)))
    assert response["error_context_count"].get_value() == 0
    assert response["byte_count"].get_value() == 4
    assert error.build_error_response(error.buffer_too_small_data(120))[8:] == b"\x78\0\0\0"


def test_data_in_a_context() -> None:
    data = error.build_error_response(error.buffer_too_small_data(120), contexts=True)
    response = peer.SMB2ErrorResponse()
    response.unpack(data)
    assert response["error_context_count"].get_value() == 1
    assert response["byte_count"].get_value() == 12
    context = peer.SMB2ErrorContextResponse()
    context.unpack(data[8:])
    assert context["error_id"].get_value() == error.SMB2_ERROR_ID_DEFAULT
    assert context["error_context_data"].get_value() == b"\x78\0\0\0"


def test_symlink_is_read_by_smbprotocol() -> None:
    data = error.symlink_error_data("..\\Zïel", "rest\\of\\path", relative=True)
    link = peer.SMB2SymbolicLinkErrorResponse()
    link.unpack(data)
    assert link.get_substitute_name() == "..\\Zïel"
    assert link.get_print_name() == "..\\Zïel"
    assert link["symlink_length"].get_value() == len(data) - 4
    assert link["unparsed_path_length"].get_value() == 24
    assert link["reparse_data_length"].get_value() == len(data) - 4 - 4 - 4 - 2 - 2
    assert link["flags"].get_value() == error.SYMLINK_FLAG_RELATIVE
