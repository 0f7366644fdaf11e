"""Whether sign-in is set up is asked with every request, and looked up once a second."""

import pytest

from ui.access import sign_in


class Secrets(dict):
    """Counts how often it is looked at."""

    looks = 0

    def __contains__(self, name: object) -> bool:
        self.looks += 1
        return super().__contains__(name)


def test_the_secrets_are_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, secrets = [1000.0], Secrets()
    monkeypatch.setattr(sign_in.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("streamlit.secrets", secrets)
    assert [sign_in.sign_in_is_set_up() for _ in range(100)] == [False] * 100
    assert secrets.looks == 1
    secrets["auth"] = {}
    now[0] += 1.0
    assert sign_in.sign_in_is_set_up()
    assert secrets.looks == 2
    monkeypatch.setattr("streamlit.secrets", Secrets())
    assert not sign_in.sign_in_is_set_up(), "others are looked at at once"
