"""By which address a visitor is counted."""

import pytest

from ui.access.visitors import Owners, Visitor, limited_by


@pytest.mark.parametrize(
    ("peer", "address", "by"),
    [
        (("192.0.2.1", 1), "", "192.0.2.1"),
        (("192.0.2.1", 1), "198.51.100.1", "198.51.100.1"),
        (("127.0.0.1", 1), "198.51.100.1", "198.51.100.1"),
        (("127.0.0.1", 1), "", ""),
        (("::1", 1, 0, 0), "", ""),
        (None, "", ""),
    ],
    ids=[
        "nobody between",
        "a trusted proxy",
        "one on this machine",
        "one that is not named",
        "by IPv6",
        "a socket file",
    ],
)
def test_it_is_counted_by_the_address_unless_that_may_be_of_many(peer: tuple | None, address: str, by: str) -> None:
    assert limited_by(Visitor(peer, None, None, address)) == by


def test_places_that_nothing_came_to_are_given_up_for_new_ones() -> None:
    owners = Owners()
    owners.begin("s", Visitor(None, None, b"b", ""))
    try:
        owners.give_places("s", ["a", "b", "c"], most=4)
        assert owners.claim("s", "a")
        owners.give_places("s", ["d", "e"], most=4)
        assert [f for f in "abcde" if owners.may_upload("s", f)] == ["a", "c", "d", "e"], (
            "to one something is on its way"
        )
        owners.uploaded("s", "a")
        owners.give_places("s", list("fghij"), most=4)
        assert [f for f in "acdefghij" if owners.may_upload("s", f)] == list("fghi")
    finally:
        owners.end("s")
