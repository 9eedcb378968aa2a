"""The preauthentication hash chain against Microsoft's published example."""

from types import ModuleType

from usmbd.protocol.crypto.preauth import PreauthHash


def test_the_chain_is_that_of_the_published_example(vectors: ModuleType) -> None:
    connection = PreauthHash()
    connection.update(vectors.NEGOTIATE_REQUEST)
    connection.update(vectors.NEGOTIATE_RESPONSE)
    after_negotiate = connection.value
    session = connection.copy()
    session.update(vectors.SESSION_SETUP_REQUEST_1)
    session.update(vectors.SESSION_SETUP_RESPONSE_1[:64], vectors.SESSION_SETUP_RESPONSE_1[64:])
    session.update(memoryview(vectors.SESSION_SETUP_REQUEST_2))
    assert session.value == vectors.PREAUTH_HASH
    assert connection.value == after_negotiate
