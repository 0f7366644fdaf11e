"""One visitor, one share. Values are worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.server.limits import Limits
from dermlens.server.shares import Payer, Shares, Visits, Who, weights


def test_one_greedy_visitor_gets_half_and_n_get_a_share_of_n_plus_one_each() -> None:
    shares = Shares(total=1000, session=1000, person=1000, address=1000)
    while shares.take(Who("a"), 1) is None:
        pass
    assert shares.held("a") == 500
    many = Shares(total=1000, session=1000, person=1000, address=1000)
    greedy = [Who(str(i)) for i in range(9)]
    while [who for who in greedy if many.take(who, 1) is None]:
        pass
    assert {many.held(who.session) for who in greedy} == {100}
    assert many.take(Who("newcomer"), 50) is None, "as much stays free for whoever comes next: 100, half of it at once"


def test_who_is_alone_has_reached_its_own_limit_and_nobody_elses() -> None:
    shares = Shares(total=1000, session=900, person=900, address=900)
    assert shares.take(Who("a"), 500) is None
    assert shares.take(Who("a"), 1) == "own", "nobody else holds anything: waiting would not help"
    assert shares.take(Who("b"), 200) is None
    assert shares.take(Who("a"), 1) == "all"
    assert Shares(1000, 2000, 2000, 2000).take(Who("a"), 1001) == "all"


def test_what_was_taken_under_two_addresses_is_given_back_to_both() -> None:
    shares = Shares(total=10_000, session=1000, person=1000, address=200)
    assert shares.take(Who("a", address="A"), 100) is None
    assert shares.take(Who("a", address="B"), 200) is None
    assert shares.take(Who("other", address="A"), 100) is None
    shares.give("a", 250)
    shares.end("a")
    assert shares.take(Who("new", address="B"), 200) is None
    assert shares.take(Who("other", address="A"), 101) == "own"
    assert shares.take(Who("other", address="A"), 100) is None


def test_a_session_a_person_and_an_address_have_limits_of_their_own() -> None:
    shares = Shares(total=1000, session=100, person=150, address=180)
    assert shares.take(Who("a", "Ada"), 100) is None
    assert shares.take(Who("a", "Ada"), 1) == "own"
    assert shares.take(Who("b", "Ada"), 50) is None
    assert shares.take(Who("b", "Ada"), 1) == "own", "with all sessions"
    assert shares.take(Who("c", "Bob", "10.0.0.1"), 100) is None
    assert shares.take(Who("d", "Eve", "10.0.0.1"), 81) == "own"
    assert shares.take(Who("d", "Eve", "10.0.0.1"), 80) is None
    assert shares.take(Who("e", "Eve", ""), 20) is None, "an address that nobody vouches for is no account"


def test_the_reserve_is_for_those_who_have_an_answered_case_and_hold_little() -> None:
    shares = Shares(total=800, session=800, person=800, address=800, reserve=0.25)
    for i in range(6):
        assert shares.take(Who(str(i)), 80) is None
    assert shares.take(Who("stranger"), 80) == "all", "of 600 that are for all, 40 would be left: less than it asks for"
    assert shares.take(Who("known", answered=True), 25) is None
    assert shares.take(Who("known", answered=True), 60) == "all", "35 of the 600 would be left, and it holds 85"


def test_many_who_hold_little_find_room_beside_some_who_keep_all_they_can() -> None:
    """8 who keep pictures and 20 who look at five each, with the limits as they are."""
    visits, image = Visits(), 600 * 450 * 3
    greedy = [Who(f"greedy {i}", answered=True) for i in range(8)]
    taken = True
    while taken:
        taken = sum(visits.kept.take(who, 1600 * 1200 * 3) is None for who in greedy) > 0
    at_once = 3 * 1600**2
    for turn in range(5):
        for i in range(20):
            who = Who(f"{i}", answered=turn > 0)
            assert visits.kept.take(who, at_once) is None, (turn, i)
            visits.kept.give(who.session, at_once - image)


def test_what_a_session_holds_is_given_back_when_it_ends_and_once_only() -> None:
    shares = Shares(total=100, session=100, person=100, address=100)
    who = Who("a", "Ada", "10.0.0.1")
    assert shares.take(who, 40) is None
    shares.give("a", 10)
    assert (shares.held("a"), shares.held()) == (30, 30)
    shares.end("a")
    assert (shares.held("a"), shares.held()) == (0, 0)
    shares.give("a", 30)  # what was on its way when it ended
    shares.end("a")
    assert shares.held() == 0
    assert shares.take(Who("b", "Ada", "10.0.0.1"), 50) is None, "nothing is left on the person's account either"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "give", "end"]), st.integers(1, 60))))
def test_whatever_happens_the_books_balance_and_the_total_holds(events: list[tuple[str, str, int]]) -> None:
    shares = Shares(total=100, session=80, person=90, address=90, reserve=0.1)
    people = {"a": Who("a", "Ada"), "b": Who("b", "Ada"), "c": Who("c", address="10.0.0.1")}
    for session, what, amount in events:
        if what == "take":
            shares.take(people[session], amount)
        elif what == "give":
            shares.give(session, amount)
        else:
            shares.end(session)
        held = [shares.held(s) for s in people]
        assert sum(held) == shares.held() <= 90
        assert min(held) >= 0
        assert max(held) <= 80
        assert held[0] + held[1] <= 90
    for session in people:
        shares.end(session)
    assert not shares._accounts
    assert not shares._held


def test_a_session_that_comes_back_keeps_its_answered_case_and_one_that_has_ended_is_forgotten() -> None:
    visits = Visits(Limits())
    visits.begin(Who("a", "Ada"))
    visits.answered("a")
    visits.begin(Who("a", "Ada"))
    assert visits.who("a").answered
    assert visits.kept.take(visits.who("a"), 5) is None
    visits.end("a")
    assert not visits.known("a")
    assert visits.kept.held() == 0
    visits.answered("a")
    assert not visits.who("a").answered


@pytest.mark.parametrize(
    ("who", "payer"),
    [
        (Who("s", "Ada", "1.2.3.4", "192.0.2.1"), Payer("person Ada")),
        (Who("s", "", "1.2.3.4"), Payer("address 1.2.3.4")),
        (Who("s", peer="192.0.2.1"), Payer("s", "192.0.2.1")),
        (Who("s"), Payer("s")),
    ],
)
def test_who_pays_for_a_turn(who: Who, payer: Payer) -> None:
    assert who.payer() == payer


def test_those_of_one_address_count_together_as_the_square_root_of_their_number() -> None:
    many = [Payer(str(i), "192.0.2.1") for i in range(9)]
    one, unknown = Payer("one", "192.0.2.2"), [Payer("a"), Payer("b")]
    found = weights([*many, *many, one, *unknown, Payer("stranger", counts=0.25)])
    assert sum(found[payer] for payer in many) == pytest.approx(3.0)
    assert [found[one], *(found[payer] for payer in unknown)] == [1.0, 1.0, 1.0]
    assert found[Payer("stranger", counts=0.25)] == 0.25
