from pathlib import Path

import pandas as pd
import pytest

from data import external
from data.external import ISIC_2017_TEST, SHARES, assign
from dermlens.dataset.isic2019 import BCN20000, COLUMNS, DIAGNOSES, ISIC_2017, load_external
from tests import fake_isic2019


def rows(*found: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(found, columns=["image_id", "source", "lesion_id", "dx"])


def test_lesions_are_dealt_by_share_inside_an_archive_and_a_diagnosis() -> None:
    table = rows(
        *((f"{source}{dx}{i}{side}", source, f"{source}{dx}{i}", dx) for source in SHARES for dx in ("mel", "nv")
          for i in range(100) for side in "ab")
    )  # fmt: skip
    split = assign(table, set())
    assert split.groupby(table["lesion_id"]).nunique().max() == 1
    for (source, _), own in split.groupby([table["source"], table["dx"]]):
        shares = own.value_counts(normalize=True)
        assert set(shares.index) == set(SHARES[source])
        for name, share in SHARES[source].items():
            assert shares[name] == pytest.approx(share, abs=0.011)  # one lesion of a hundred is 0.01
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(assign(shuffled, set()).sort_index(), split)


def test_shares_of_an_archive_are_whole_and_validation_is_the_same_part_of_what_is_no_test_set() -> None:
    for shares in SHARES.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["validation"] / (shares["train"] + shares["validation"]) == pytest.approx(0.15)
    assert SHARES[BCN20000]["bcn20000"] == 0.15


def test_a_lesion_of_isic_2017s_test_images_serves_for_nothing_else_wherever_it_is() -> None:
    table = rows(
        *((f"test{i}", source, f"L{i}", "mel") for i, source in enumerate(ISIC_2017_TEST)),
        *((f"{source}{i}", source, f"L{i}", "mel") for source in SHARES for i in range(30)),
        ("other", "ISIC 2019 other", "L99", "nv"),
    )
    split = assign(table, set()).set_axis(table["image_id"])
    assert split[["test0", "test1"]].tolist() == ["isic2017"] * 2
    for source in SHARES:
        assert split[[f"{source}0", f"{source}1"]].tolist() == ["left_out"] * 2
        assert (split[[f"{source}{i}" for i in range(2, 30)]] != "left_out").all()
    assert split["other"] == "left_out"
    assert (split == "isic2017").sum() == 2


def test_what_shows_a_lesion_of_elsewhere_is_left_out_with_all_images_of_the_lesion_but_stays_in_a_test_set() -> None:
    table = rows(*((f"{i}{side}", BCN20000, f"L{i}", "mel") for i in range(60) for side in "ab"))
    before = assign(table, set())
    chosen = {name: table["image_id"][before == name].iloc[0] for name in SHARES[BCN20000]}
    after = assign(table, set(chosen.values()))
    for name, image_id in chosen.items():
        lesion = table["lesion_id"] == table["lesion_id"][table["image_id"] == image_id].item()
        assert lesion.sum() == 2
        assert set(after[lesion]) == ({"bcn20000"} if name == "bcn20000" else {"left_out"})
    others = ~table["lesion_id"].isin(table["lesion_id"][after != before])
    pd.testing.assert_series_equal(after[others], before[others])
    assert (~others).sum() == 4


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a drawn archive and, in external.csv, the images that the command is to split."""
    found = fake_isic2019.table()
    fake_isic2019.write(tmp_path, found)
    known = found.assign(dx="nv", split="left_out", lesion_id=found["image_id"])  # a first table knows no better
    known.to_csv(tmp_path / "external.csv", index=False)
    monkeypatch.setattr(external, "EXTERNAL_TABLE", tmp_path / "external.csv")
    monkeypatch.setattr(external, "SEEN_ELSEWHERE_TABLE", tmp_path / "external_same_lesion.csv")
    monkeypatch.setattr(external, "load_external", lambda: load_external(tmp_path / "external.csv"))
    return tmp_path


def test_the_command_splits_images_by_what_the_archive_says(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert external.main(["--data", str(drawn)]) == 0
    made, expected = load_external(drawn / "external.csv"), fake_isic2019.table()
    pd.testing.assert_frame_equal(made, expected)
    assert (drawn / "external.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    said = capsys.readouterr().out
    assert all(dx in said for dx in DIAGNOSES.values())
    first = (drawn / "external.csv").read_bytes()
    assert external.main(["--data", str(drawn)]) == 0
    assert (drawn / "external.csv").read_bytes() == first
    trained = made["image_id"][(made["split"] == "train") & (made["source"] == ISIC_2017)].iloc[0]
    pd.DataFrame({"external": [trained], "ham10000": "ISIC_0024306"}).to_csv(
        drawn / "external_same_lesion.csv", index=False
    )
    assert external.main(["--data", str(drawn)]) == 0
    again = load_external(drawn / "external.csv")
    assert again["image_id"][again["split"] != made["split"]].tolist() == [trained]
    assert again.loc[again["image_id"] == trained, "split"].item() == "left_out"


def test_the_command_says_what_the_archive_lacks_and_leaves_the_table(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (drawn / "external.csv").read_bytes()
    truth = next(drawn.glob("*GroundTruth.csv"))
    lines = truth.read_text().splitlines()
    truth.write_text("\n".join(lines[:1] + lines[3:]))
    assert external.main(["--data", str(drawn)]) == 2
    assert "lacks 2 images of external.csv, ISIC_0000000 first" in capsys.readouterr().err
    truth.unlink()
    assert external.main(["--data", str(drawn)]) == 2
    assert "GroundTruth.csv" in capsys.readouterr().err
    assert (drawn / "external.csv").read_bytes() == before
