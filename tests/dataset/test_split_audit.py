import json
from pathlib import Path

import pandas as pd
import pytest

from dermlens.dataset.split_audit import fingerprint, read_audit
from dermlens.errors import DataError

TABLE = pd.DataFrame({"image_id": ["b", "a"], "lesion_id": ["l2", "l1"], "split": ["test", "train"]})


def content(**changes: object) -> dict:
    images, melanomas = "test_images_with_lesion_in_train", "test_melanomas_with_lesion_in_train"
    return {
        "table_sha256": fingerprint(TABLE),
        "leaks": {"lesions_in_more_than_one_split": 0, images: {"share": 0.0}, melanomas: {"share": 0.0}},
        "exact_duplicates": {"across_splits": 0},
        "near_duplicates": {"across_splits": 0, "lesions_joined": 3},
        "naive_split": {
            "draws": 20,
            "lesions_in_more_than_one_split": {"mean": 1000.5},
            images: {"mean": 0.387},
            melanomas: {"mean": 0.674},
            "near_duplicates_across_splits_first_draw": 900,
        },
        **changes,
    }


def test_an_audit_is_read_with_its_naive_counterpart(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(content()))
    audit = read_audit(file, TABLE.iloc[::-1])
    assert (audit.test_seen, audit.naive_test_seen, audit.naive_melanomas_seen) == (0, 0.387, 0.674)
    assert audit.fits_table
    assert not audit.leaks()
    assert not read_audit(file, TABLE.assign(split="train")).fits_table


def test_any_leak_counts(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(content(exact_duplicates={"across_splits": 1})))
    assert read_audit(file, TABLE).leaks()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"leaks": 1}'])
def test_a_damaged_audit_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(DataError, match="Run it again"):
        read_audit(tmp_path / "audit.json", TABLE)


def test_a_missing_audit_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="python -m data.audit"):
        read_audit(tmp_path / "audit.json", TABLE)
