from pathlib import Path

import pandas as pd
import pytest

from data import external
from data.external import ISIC_2017_TEST, SHARES, assign
from dermlens.dataset.isic2019 import BCN20000, COLUMNS, DIAGNOSES, ISIC_2017, load_external
from tests import fake_isic2019
from tests.fake_isic2019 import NO_HAM10000, NO_PAIRS


def rows(*found: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(found, columns=["image_id", "source", "lesion_id", "dx"])


def test_lesions_are_dealt_by_share_inside_an_archive_and_a_diagnosis() -> None:
    table = rows(
        *((f"{source}{dx}{i}{side}", source, f"{source}{dx}{i}", dx) for source in SHARES for dx in ("mel", "nv")
          for i in range(100) for side in "ab")
    )  # fmt: skip
    split = assign(table, NO_HAM10000, NO_PAIRS)
    assert split.groupby(table["lesion_id"]).nunique().max() == 1
    for (source, _), own in split.groupby([table["source"], table["dx"]]):
        shares = own.value_counts(normalize=True)
        assert set(shares.index) == set(SHARES[source])
        for name, share in SHARES[source].items():
            assert shares[name] == pytest.approx(share, abs=0.011)  # one lesion of a hundred is 0.01
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(assign(shuffled, NO_HAM10000, NO_PAIRS).sort_index(), split)


def test_shares_of_an_archive_are_whole_and_validation_is_the_same_part_of_what_is_no_test_set() -> None:
    for shares in SHARES.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["validation"] / (shares["train"] + shares["validation"]) == pytest.approx(0.15)
    assert SHARES[BCN20000]["bcn20000"] == 0.15


def test_a_lesion_of_isic_2017s_test_images_serves_for_nothing_else_wherever_it_is() -> None:
    table = rows(
        *((f"test{i}", source, f"L{i}", "mel") for i, source in enumerate(ISIC_2017_TEST)),
        *(
            (f"{source}{i}", source, f"L{i}" if i < 2 else f"{source}{i}", "mel")
            for source in SHARES
            for i in range(30)
        ),
        ("other", "ISIC 2019 other", "L99", "nv"),
    )
    split = assign(table, NO_HAM10000, NO_PAIRS).set_axis(table["image_id"])
    assert split[["test0", "test1"]].tolist() == ["isic2017"] * 2
    for source in SHARES:
        assert split[[f"{source}0", f"{source}1"]].tolist() == ["left_out"] * 2
        assert (split[[f"{source}{i}" for i in range(2, 30)]] != "left_out").all()
    assert split["other"] == "left_out"
    assert (split == "isic2017").sum() == 2


def test_a_lesion_seen_elsewhere_is_left_out_with_all_its_images_where_it_would_leak() -> None:
    table = rows(*((f"{i}{side}", BCN20000, f"L{i}", "mel") for i in range(60) for side in "ab"))
    own = pd.DataFrame(
        [(f"own-{split}", f"H-{split}", split) for split in ("train", "validation", "test")],
        columns=["image_id", "lesion_id", "split"],
    )
    before = assign(table, own, NO_PAIRS)
    first = {split: table["image_id"][before == split].tolist()[::2] for split in SHARES[BCN20000]}
    train, validation, tested = (first[split] for split in ("train", "validation", "bcn20000"))
    pairs = pd.DataFrame(
        [
            (train[0], "own-test", "yes"),
            ("own-validation", train[1], "yes"),
            (train[2], "own-train", "yes"),
            (train[3], "own-test", "no"),
            (train[4], "own-test", ""),
            (train[5], tested[0], "yes"),
            (train[6], validation[0], "yes"),
            (validation[1], "own-validation", "yes"),
            (tested[1], "own-test", "yes"),
            (train[7], "of another table", "yes"),
            (validation[2], "own-train", "yes"),
            ("own-train", tested[2], "yes"),
            (tested[3], "own-train", "no"),
        ],
        columns=["image_a", "image_b", "same"],
    )
    after = assign(table, own, pairs)
    left = [*train[:2], *train[5:7], validation[1], validation[2], tested[2]]
    lesions = table["lesion_id"][table["image_id"].isin(left)]
    assert after[table["lesion_id"].isin(lesions)].tolist() == ["left_out"] * 14
    assert after[table["image_id"] == train[2]].tolist() == ["train"], "it trains there and here"
    others = ~table["lesion_id"].isin(lesions)
    pd.testing.assert_series_equal(after[others], before[others])


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a drawn archive and, in external.csv, the images that the command is to split."""
    found = fake_isic2019.table()
    fake_isic2019.write(tmp_path, found)
    known = found.assign(dx="nv", split="left_out", lesion_id=found["image_id"])  # a first table knows no better
    known.to_csv(tmp_path / "external.csv", index=False)
    monkeypatch.setattr(external, "EXTERNAL_TABLE", tmp_path / "external.csv")
    monkeypatch.setattr(external, "load_split", lambda: NO_HAM10000)
    monkeypatch.setattr(external, "load_lookalikes", lambda: NO_PAIRS)
    monkeypatch.setattr(external, "load_external", lambda: load_external(tmp_path / "external.csv"))
    return tmp_path


def test_the_command_splits_images_by_what_the_archive_says(
    drawn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    own = pd.DataFrame({"image_id": ["own"], "lesion_id": ["H"], "split": ["test"]})
    pairs = pd.DataFrame({"image_a": [trained], "image_b": ["own"], "same": ["yes"]})
    monkeypatch.setattr(external, "load_split", lambda: own)
    monkeypatch.setattr(external, "load_lookalikes", lambda: pairs)
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
