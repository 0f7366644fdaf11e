import csv
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.cohort.__main__ import main
from dermlens.cohort.exchange import into_record
from dermlens.cohort.store import Place, place
from dermlens.errors import DataError, ModelError
from dermlens.models.model import Model
from dermlens.record import cases
from dermlens.record.answers import image_values, prediction_values
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.tables import Audit, Image, Prediction
from dermlens.trust.referral_rules import RULES
from tests.cohort.conftest import Drawn
from tests.cohort.test_run import go

_REASONS = {rule.key: rule for rule in RULES}

WHO = Who("command", "admin", ("north",))
OTHER = ("app_version", "logits", "heat_map_sha256", "milliseconds")
"""What a cohort does not keep of an answer."""


@pytest.fixture(scope="module")
def finished(published: Path, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished cohort of 40 images in seven shards. Shared: copy it before changing anything."""
    output = place(tmp_path_factory.mktemp("finished") / "out")
    go(published, drawn.folder, output)
    return output


@pytest.fixture
def copied(finished: Place, tmp_path: Path) -> Place:
    shutil.copytree(finished.address, tmp_path / "out")
    return place(tmp_path / "out")


def kept(record: Record, models: Path, output: Place) -> list[tuple[str, int, bool]]:
    cohort = into_record.opened(output, models, time.time())
    return [(k.name, k.lesion_id, k.new) for k in into_record.keep(record, WHO, cohort)]


def change(output: Place, number: int, **columns: object) -> None:
    """Set columns of the first row of a part, whose footer stays."""
    file = Path(output.address, f"part-{number:06}.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0].update(columns)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def test_an_answer_is_kept_as_if_it_had_been_saved_on_the_page(
    record: Record,
    published: Path,
    toy: Model,
    drawn: Drawn,
    finished: Place,
) -> None:
    before = datetime.now(UTC)
    found = kept(record, published, finished)
    readable = [path for path, p in zip(drawn.paths, drawn.expected, strict=True) if p is not None]
    assert [path for path, _, _ in found] == readable
    assert len({case for _, case, _ in found}) == len(readable)
    with record.database.reading() as session:
        for path, number, _ in found:
            case = cases.one(session, WHO, number)
            (image,), ((answer,),) = case.images, case.predictions.values()
            asked = examine((drawn.folder / path).read_bytes(), path, [toy])
            wanted = image_values(asked)
            assert {n: getattr(image, n) for n in ("pixels_sha256", "width", "height", "synthetic")} == {
                n: wanted[n] for n in ("pixels_sha256", "width", "height", "synthetic")
            }
            measures = {n: v for n, v in wanted["quality"].items() if n not in ("poor", "findings")}
            assert {n: image.quality[n] for n in measures} == pytest.approx(measures, rel=1e-5)
            assert image.quality["findings"] == wanted["quality"]["findings"]
            assert image.quality["poor"] == wanted["quality"]["poor"]
            (same,) = prediction_values(asked, form([toy], asked.answers), "as-is")
            np.testing.assert_allclose(np.array(answer.probabilities), same.pop("probabilities"), rtol=1e-6)
            assert answer.suspect == pytest.approx(same.pop("suspect"), abs=1e-6)
            assert {n: getattr(answer, n) for n in same if n not in OTHER} == {
                n: v for n, v in same.items() if n not in OTHER
            }
            assert (answer.logits, answer.heat_map_sha256, answer.milliseconds) == (None, None, None)
            assert answer.at < before
            assert image.saved_at >= before
            assert {line.action for line in case.history} == {"import"}
            assert not case.lesion.label, "names of files are kept nowhere"
        check = audit.verify(session)
    assert check.n_problems == 0
    assert check.rows == 1 + 3 * len(readable)
    assert check.lines == check.rows


def test_importing_twice_adds_nothing_and_one_that_was_stopped_goes_on(
    record: Record,
    published: Path,
    finished: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dermlens.record.exchange import imported

    monkeypatch.setattr(imported, "BLOCK", 10)
    cohort = into_record.opened(finished, published, time.time())
    some = [next(it) for it in [iter(into_record.keep(record, WHO, cohort))] for _ in range(12)]
    whole = kept(record, published, finished)
    assert [new for _, _, new in whole] == [False] * 20 + [True] * (len(whole) - 20)
    assert [(path, case) for path, case, _ in whole][:12] == [(k.name, k.lesion_id) for k in some]
    with record.database.reading() as session:
        lines = audit.verify(session).lines
    again = kept(record, published, finished)
    assert [(path, case) for path, case, _ in again] == [(path, case) for path, case, _ in whole]
    assert not any(new for _, _, new in again)
    with record.database.reading() as session:
        assert audit.verify(session).lines == lines
        assert len(session.scalars(select(Image)).all()) == len(whole)
        assert len(session.scalars(select(Prediction)).all()) == len(whole)


def test_another_group_has_cases_of_its_own(record: Record, published: Path, finished: Place) -> None:
    kept(record, published, finished)
    cohort = into_record.opened(finished, published, time.time())
    south = Who("command", "admin", ("south",))
    assert all(k.new for k in into_record.keep(record, south, cohort))
    with record.database.reading() as session:
        assert cases.count(session, WHO) == cases.count(session, south) > 0


@pytest.mark.parametrize(
    ("fires", "said"),
    [
        (["melanoma", "malignant"], ["melanoma", _REASONS["malignant"].reason]),
        (["unfamiliar", "melanoma"], [_REASONS["unfamiliar"].reason]),
    ],
)
def test_rules_that_fire_are_said_in_words(
    record: Record, published: Path, copied: Place, fires: list[str], said: list[str]
) -> None:
    change(copied, 6, refer=True, reasons=fires)
    (number,) = [case for path, case, _ in kept(record, published, copied) if path.endswith("image_0030.png")]
    with record.database.reading() as session:
        (answer,) = next(iter(cases.one(session, WHO, number).predictions.values()))
    assert (answer.refer, answer.reasons) == (True, said)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"p_mel": 0.99}, "the probabilities cannot be right"),
        ({"call": "mel"}, "the call cannot be right"),
        ({"pixels_sha256": "x"}, "the hash of the pixels cannot be right"),
        ({"image": "another.png"}, "it is not the row of"),
        ({"row": 7}, "it is not the row of"),
        ({"reasons": ["because"]}, "'because' is no rule for referral"),
        ({"height": 0}, "the size cannot be right"),
    ],
)
def test_a_changed_row_is_refused_and_nothing_is_kept(
    record: Record,
    published: Path,
    copied: Place,
    columns: dict,
    said: str,
) -> None:
    change(copied, 6, **columns)
    with pytest.raises(DataError, match=rf"part-000006.parquet, row 36: .*{said}"):
        kept(record, published, copied)
    with record.database.reading() as session:
        assert session.scalars(select(Audit)).first() is None


def test_what_is_not_whole_or_was_made_from_something_else_is_refused(
    record: Record,
    published: Path,
    copied: Place,
    tmp_path: Path,
) -> None:
    folder = Path(copied.address)
    other = tmp_path / "models"
    shutil.copytree(published, other)
    card = json.loads((other / "toy" / "card.json").read_text())
    card["files"]["run.json"] = "0" * 64
    card["views"] = 1
    (other / "toy" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="answered by other files than those of toy"):
        kept(record, other, copied)
    document = json.loads((folder / "cohort.json").read_text())
    for name, value, said in (
        ("class_mix", "equal", "with another class mix"),
        ("model_sha256", "0" * 64, "with another files of the model"),
        ("manifest_sha256", "0" * 64, "is not the list of images"),
    ):
        (folder / "cohort.json").write_text(json.dumps(document | {name: value}))
        with pytest.raises(DataError, match=said):
            kept(record, published, copied)
    (folder / "cohort.json").write_text(json.dumps(document))
    (folder / "part-000003.parquet").unlink()
    with pytest.raises(DataError, match="34 of 40 rows"):
        kept(record, published, copied)


def test_answers_at_another_class_mix_are_refused(record: Record, published: Path, copied: Place) -> None:
    file = Path(copied.address, "cohort.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"class_mix": "equal"}))
    for one in Path(copied.address).glob("part-*.parquet"):
        table = pq.read_table(one)
        pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"dermlens.class_mix": b"equal"}), one)
    with pytest.raises(DataError, match="was answered at the class mix 'equal'"):
        kept(record, published, copied)


def test_the_command_says_what_became_of_each_image(
    published: Path,
    drawn: Drawn,
    finished: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    command = ["record", finished.address, "--models-dir", str(published), "--cases", str(tmp_path / "cases.csv")]
    monkeypatch.delenv("DERMLENS_DATABASE", raising=False)
    assert main(command) == 2
    assert "set DERMLENS_DATABASE" in capsys.readouterr().err
    monkeypatch.setitem(os.environ, "DERMLENS_DATABASE", f"sqlite:///{tmp_path}/record.db")
    broken = sum(p is None for p in drawn.expected)
    for new, there in ((40 - broken, 0), (0, 40 - broken)):
        assert main(command) == 0
        told = capsys.readouterr()
        assert f"New cases: {new}; kept before: {there}; left out, as they could not be read: {broken}." in told.out
        assert told.err.count("PNG") >= 1
        assert all(f"{path}: " in told.err for path, p in zip(drawn.paths, drawn.expected, strict=True) if p is None)
        with (tmp_path / "cases.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        assert header == ["case", "image"]
        assert [path for _, path in lines] == [
            path for path, p in zip(drawn.paths, drawn.expected, strict=True) if p is not None
        ]
