"""One line an event, whatever a client's name holds."""

import io
import json

from usmbd.mountd.log import Log


def test_a_name_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    Log(3, stream=stream).refused("login failed", user="x\nroot logged in", client="")
    assert stream.getvalue().count("\n") == 1
    assert 'user="x\\\\nroot logged in" client=""' in stream.getvalue()


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    Log(1, as_json=True, stream=stream).info("login", uid=7, user="ä\n")
    record = json.loads(stream.getvalue())
    assert (record["event"], record["uid"], record["user"]) == ("login", 7, "ä\n")
    assert stream.getvalue().count("\n") == 1


def test_the_level_decides() -> None:
    stream = io.StringIO()
    log = Log(0, stream=stream)
    log.info("no")
    log.error("yes")
    assert "yes" in stream.getvalue()
    assert "no" not in stream.getvalue()
