from pathlib import Path

from tests import load


def test_sessions_at_once_get_the_answers_of_one_alone_and_see_nothing_of_each_other(pair: Path) -> None:
    together, leaving, log = load.run(full=False, models=pair)
    assert together["survived"] == together["tried"] == load.SMALL.sessions * load.SMALL.uploads
    assert "WRONG" not in together["note"]
    assert together["refused"] == 0
    assert together["worst_memory_mb"] > 0
    assert leaving["lost"] == log["lost"] == 0, (leaving, log)


def test_a_mix_up_would_be_found() -> None:
    names = [name.encode() for name, _ in load._files(3, load.SMALL)]
    assert all(load._NAME.search(name).group(1) == b"3" for name in names)
    pictures = {data for number in range(3) for _, data in load._files(number, load.SMALL)}
    assert len(pictures) == 3 * load.SMALL.images
    assert load._KEY.findall(b"?image=0123456789ab&view=Overlay") == [b"0123456789ab"]
