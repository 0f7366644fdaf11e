from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dermlens.dataset.labelled import read_labelled
from dermlens.errors import DataError
from dermlens.ingest.read import read_file
from dermlens.record import consent, readings, save
from dermlens.record.learning import second_look
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About
from tests.record.filled import fill, saving
from training.labelled import labelled_rows

SURE = [0.01, 0.01, 0.01, 0.01, 0.02, 0.93, 0.01]
UNSURE = [0.1, 0.1, 0.2, 0.05, 0.05, 0.45, 0.05]


def case(
    record: Record, shares: list[float], called: str | None = "nv", about: About | None = None, picture=None
) -> save.Saved:
    one = saving(np.random.default_rng(0), 5, about)
    for values in one.predictions:
        values.update(probabilities=shares, called=called, refused_by=[] if called else ["one"], ood_score=None)
    return save.save(record, ME, replace(one, token=np.random.default_rng().bytes(16).hex(), picture=picture))


def test_the_queue_says_why_and_leaves_known_cases_out(record: Record) -> None:
    plain, unsure, refused, known, both = (
        case(record, SURE), case(record, UNSURE), case(record, SURE, None), case(record, UNSURE), case(record, UNSURE),
    )  # fmt: skip
    readings.read(record, ME, plain.image_id, Judgement("before", "nv", 50, "none"))
    readings.read(record, ME, both.image_id, Judgement("before", "mel", 50, "none"))
    readings.enter_outcome(record, ME, known.lesion_id, Found("nv", "histology"))
    with record.database.reading() as session:
        found = second_look.queue(session, ME)
    reasons = dict(zip(found["case"], found["reasons"], strict=True))
    assert reasons == {
        both.lesion_id: "disagreement;uncertain",
        refused.lesion_id: "unusual",
        unsure.lesion_id: "uncertain",
    }
    assert found["case"].iloc[0] == both.lesion_id


def test_what_lies_farthest_out_is_unusual_once_there_is_enough_to_compare_with(record: Record) -> None:
    fill(record, 40, known=0)
    with record.database.reading() as session:
        far = second_look._far(session, ME)
    assert 4 <= len(far) <= 6  # 2 of 40 a network, and there are three


def test_labels_come_back_as_training_data(record: Record, lesion: np.ndarray, tmp_path: Path) -> None:
    agreed = About("Miller", consent="training", keep_picture=True)
    only_kept = About("Smith", consent="pictures", keep_picture=True)
    one = case(record, UNSURE, about=agreed, picture=lesion)
    case(record, UNSURE, about=only_kept, picture=lesion[::-1])
    case(record, UNSURE)
    folder = tmp_path / "label"
    assert second_look.write(record, ME, folder) == (1, 2)
    assert [p.name for p in (folder / "pictures").iterdir()] == [f"record-{one.image_id}.png"]
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    assert table[["image", "lesion", "dx"]].to_numpy().tolist() == [
        [f"record-{one.image_id}", f"record-{one.lesion_id}", ""]
    ]
    with pytest.raises(DataError, match="is not empty"):
        second_look.write(record, ME, folder)
    assert read_labelled(folder).empty
    held_out = pd.DataFrame({"image_id": ["ISIC_1"], "file": [tmp_path / "test.png"], "stored_aspect": ["as-is"]})
    cv2.imwrite(str(tmp_path / "test.png"), lesion[:, ::-1])
    with pytest.raises(DataError, match="no image with a diagnosis"):
        labelled_rows(folder, held_out)
    table.assign(dx="mel").to_csv(folder / "labels.csv", index=False)
    found = labelled_rows(folder, held_out)
    assert found[["image_id", "dx", "split"]].to_numpy().tolist() == [[f"record-{one.image_id}", "mel", "train"]]
    assert np.array_equal(read_file(found["file"].iloc[0]).pixels, lesion)
    cv2.imwrite(str(tmp_path / "test.png"), lesion[..., ::-1])  # the same pixels stand in the test split
    with pytest.raises(DataError, match=r"is ISIC_1, with which models are measured"):
        labelled_rows(folder, held_out)
    table.assign(dx="scc").to_csv(folder / "labels.csv", index=False)
    with pytest.raises(DataError, match="column dx: 'scc' must be one of"):
        read_labelled(folder)
    consent.withdraw(record, ME, one.lesion_id)
    assert second_look.write(record, ME, tmp_path / "again") == (0, 2), "nothing can be added to that case"
