"""The count of the sessions that are connected to a share."""

from usmbd.mountd.trees import TreeTable


def test_sessions_are_counted_once_and_forgotten_by_tree_session_and_worker() -> None:
    table = TreeTable()
    table.add("w1", (1, 1), "Data", proven=True)
    table.add("w1", (1, 1), "data", proven=True)
    table.add("w1", (1, 2), "data", proven=True)
    table.add("w1", (2, 1), "data", proven=True)
    table.add("w2", (2, 1), "DATA", proven=True)
    assert table.count("dAtA") == 3
    assert table.connected("w1", 1, "DATA")
    assert not table.connected("w1", 3, "data")
    table.remove("w1", (2, 1))
    table.remove("w1", (2, 1))
    table.remove("w9", (2, 1))
    assert table.count("data") == 2
    table.remove("w1", (1, 1))
    assert table.connected("w1", 1, "data"), "by its other tree connect"
    table.remove_session("w1", 1)
    assert table.count("data") == 1
    table.remove_worker("w2")
    table.remove_worker("w2")
    assert table.count("data") == 0


def test_of_guests_it_is_known_how_many_they_are() -> None:
    table = TreeTable()
    table.add("w1", (1, 1), "data", proven=False)
    table.add("w1", (1, 2), "data", proven=False)
    table.add("w1", (2, 1), "data", proven=True)
    table.add("w2", (1, 1), "data", proven=False)
    assert (table.count("data"), table.unproven("DATA"), table.unproven("other")) == (3, 2, 0)
    table.remove("w1", (1, 1))
    assert table.unproven("data") == 2
    table.remove("w1", (1, 2))
    assert (table.count("data"), table.unproven("data")) == (2, 1)
    table.remove_worker("w2")
    assert (table.count("data"), table.unproven("data")) == (1, 0)
    table.add("w1", (3, 1), "data", proven=False)
    table.remove_worker("w1")
    assert (table.count("data"), table.unproven("data")) == (0, 0)
