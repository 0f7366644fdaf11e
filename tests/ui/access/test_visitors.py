"""By which address a visitor is counted."""

import pytest

from ui.access.visitors import Visitor, limited_by


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
