import json
import shutil
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.testing.v1 import AppTest

from dermlens.case import predict, stability
from dermlens.case.opinion import form
from dermlens.case.stability import Stability
from dermlens.case.summary import CANNOT_NAME, DISCLAIMER, called
from dermlens.charts.style import ROWS
from dermlens.errors import DownloadError
from dermlens.ingest.read import read_image
from dermlens.labels import CLASSES, INDEX, NAMES
from dermlens.models import registry
from dermlens.wording import percent
from tests.conftest import encode, publish_toy, toy_network
from tests.dashboard import check, open_page, text
from tests.image_files import dicom
from ui.predict import triage
from ui.predict.downloads import isic_table, row_id
from ui.predict.triage import NO_RULE, REFER, RETAKE, SHOWN


@pytest.fixture
def app(pair: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    return open_page("predict")


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in files])
    return check(app.run())


def test_an_upload_is_answered_by_every_model(app: AppTest, pair: Path, lesion: np.ndarray) -> None:
    data = encode(lesion)
    upload(app, ("lesion.png", data))
    shown = text(app)
    for model_id in ("toy", "toy2"):
        model = registry.load(registry.find(pair, model_id))
        answer = predict.predict(model, read_image(data).pixels)
        probabilities, diagnosis = answer.probabilities, called(answer)
        assert model.name in shown
        assert diagnosis.name in shown
        if model_id == "toy":
            assert f"{NAMES[diagnosis.code]} {percent(float(probabilities.max()))}" in shown
            assert "Uncalibrated score by Toy toy" in shown
    assert "disagree" in shown or " call it " in shown
    assert "External" not in shown
    assert [s.label for s in app.selectbox if s.label == "Evidence for"]


def test_every_page_says_once_that_it_is_no_diagnosis(app: AppTest) -> None:
    assert text(app).count(DISCLAIMER) == 1


def test_switching_class_model_or_opacity_asks_no_model(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(app, ("lesion.png", encode(lesion)))

    def refuse(*_: object) -> None:
        pytest.fail("a model ran")

    monkeypatch.setattr(predict, "forward", refuse)
    monkeypatch.setattr("dermlens.case.image.predict", refuse)
    app.selectbox(key="class").set_value("mel")
    check(app.run())
    app.slider(key="opacity").set_value(20)
    check(app.run())
    app.button_group(key="network").set_value("toy2")
    check(app.run())
    assert "Toy toy2: Melanoma" in "".join(str(chart.proto) for chart in app.get("plotly_chart"))


def test_an_answer_is_no_longer_shown_once_its_model_was_published_again(
    pair: Path, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    app = upload(open_page("predict"), ("lesion.png", encode(lesion)))
    assert "No answer of" not in text(app)
    shutil.rmtree(models / "toy2")
    publish_toy(models / "toy2", toy_network(seed=7))
    shown = text(check(app.run()))
    assert "**No answer of Toy toy2.** Toy toy2 was published or fitted again" in shown
    assert "Uncalibrated score by Toy toy" in shown, "the other one still stands"
    assert "Toy toy2" not in "".join(str(chart.proto) for chart in app.get("plotly_chart"))
    app.switch_page("pages/compare.py").run()
    assert "Toy toy2" not in str(check(app).multiselect(key="networks").options)
    app.switch_page("pages/predict.py").run()
    shutil.rmtree(models / "toy")
    publish_toy(models / "toy", toy_network(seed=8))
    app.run()
    assert "No answer" in [h.value for h in check(app).header]
    upload(app, ("lesion.png", encode(lesion)))
    assert "No answer" not in text(app)
    assert "Toy toy2" in "".join(str(chart.proto) for chart in app.get("plotly_chart"))


def test_the_case_survives_a_change_of_page_and_new_case_clears_it(app: AppTest, lesion: np.ndarray) -> None:
    upload(app, ("lesion.png", encode(lesion)))
    app.switch_page("pages/home.py").run()
    assert "One image in this case" in text(check(app))
    app.switch_page("pages/predict.py").run()
    assert "Uncalibrated score" in text(check(app))
    next(b for b in app.button if b.label == "New case").click().run()
    shown = text(check(app))
    assert "Uncalibrated score" not in shown
    assert "in this case" not in shown
    assert "image" not in app.query_params


def test_a_file_that_is_no_image_is_refused_in_a_sentence_and_the_others_go_on(
    app: AppTest, lesion: np.ndarray
) -> None:
    upload(app, ("empty.png", b""), ("[x](http://evil)*.txt", b"hello"), ("lesion.png", encode(lesion)))
    errors = [str(e.value) for e in app.error]
    assert len(errors) == 2
    assert "0 bytes" in errors[0].replace("\\", "")
    assert r"\[x\]\(http\://evil\)\*" in errors[1], "a file name must not become markup"
    assert "Uncalibrated score" in text(app)


def test_files_that_were_taken_are_not_kept_by_streamlit_as_well(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, UploadedFileRec] = {}
    add, remove = MemoryUploadedFileManager.add_file, MemoryUploadedFileManager.remove_file

    def adding(manager: MemoryUploadedFileManager, session_id: str, file: UploadedFileRec) -> None:
        kept[file.file_id] = file
        add(manager, session_id, file)

    def removing(manager: MemoryUploadedFileManager, session_id: str, file_id: str) -> None:
        assert [f.file_id for f in manager.get_files(session_id, [file_id])] == [file_id]
        remove(manager, session_id, file_id)
        del kept[file_id]

    monkeypatch.setattr(MemoryUploadedFileManager, "add_file", adding)
    monkeypatch.setattr(MemoryUploadedFileManager, "remove_file", removing)
    files = [("a.png", encode(lesion), "image/png"), ("b.txt", b"no image", "text/plain")]
    app.file_uploader[0].set_value(files)
    check(app.run())
    assert not kept
    assert len(app.session_state["case_images"]) == 1


def test_many_images_make_a_table_and_the_first_row_is_shown(app: AppTest, lesion: np.ndarray) -> None:
    flipped = np.ascontiguousarray(lesion[:, ::-1])
    upload(app, ("a.png", encode(lesion)), ("b.png", encode(flipped)))
    table = app.dataframe[0].value
    assert set(table["file"]) == {"a.png", "b.png"}
    assert table["suspect"].tolist() == sorted(table["suspect"], reverse=True)
    assert table["shown"].tolist() == [SHOWN, ""]
    image = app.session_state["case_images"][app.session_state["image"]]
    assert image.name == table["file"].iloc[0]
    answer = called(image.answers["toy"])
    assert table["diagnosis"].iloc[0].startswith(ROWS[answer.code])


def test_images_to_take_again_and_those_without_rules_are_counted_beside_those_to_refer(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [(f"{i}.png", encode(np.ascontiguousarray(lesion[i:]))) for i in range(5)]
    upload(app, *files)
    assert "0 of 5 images to refer, 5 without rules for referral; riskiest first." in text(app)
    said = dict(zip((name for name, _ in files), (NO_RULE, RETAKE, REFER, RETAKE, NO_RULE), strict=True))
    summary = triage.summary
    monkeypatch.setattr(triage, "summary", lambda i, opinion: {**summary(i, opinion), "refer": said[i.name]})
    assert "1 of 5 images to refer, 2 to take again or refer; riskiest first." in text(check(app.run()))


def test_withheld_images_are_counted_as_to_be_taken_again(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {"toy": False, "toy2": False})
    upload(app, ("a.png", encode(lesion)), ("b.png", encode(np.ascontiguousarray(lesion[::-1]))))
    assert "0 of 2 images to refer, 2 to take again or refer; riskiest first." in text(app)


def test_the_table_reads_no_probability_as_certain(app: AppTest, lesion: np.ndarray) -> None:
    upload(app, ("low.png", encode(lesion)), ("high.png", encode(np.ascontiguousarray(lesion[::-1]))))
    for image, melanoma in zip(app.session_state["case_images"].values(), (0.0003, 0.9997), strict=True):
        shares = np.zeros(len(CLASSES))
        shares[[INDEX["mel"], INDEX["nv"]]] = melanoma, 1 - melanoma
        for model, answer in image.answers.items():
            image.answers[model] = replace(answer, probabilities=shares)
    table = check(app.run()).dataframe[0]
    assert table.value["file"].tolist() == ["high.png", "low.png"]
    assert table.value["suspect"].tolist() == [99.9, 0.1]
    assert json.loads(table.proto.columns)["suspect"]["type_config"]["format"] == "%.1f %%"


def test_an_example_is_labelled_synthetic(app: AppTest) -> None:
    assert "synthetic and show no real lesion" in text(app)
    app.button(key="example-red").click().run()
    assert "Synthetic drawing." in text(check(app))
    assert "Uncalibrated score" in text(app)


def test_a_link_to_an_image_of_another_session_says_that_it_is_gone(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    app = open_page("predict", image="0123456789ab")
    assert "it is gone" in app.info[0].value
    assert app.file_uploader


def test_without_a_model_the_page_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    app = open_page("predict")
    assert "There is no model to ask." in text(app)
    assert not app.file_uploader


def test_a_damaged_model_is_named_and_the_other_one_answers(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lesion: np.ndarray
) -> None:
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    card = models / "toy2" / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "classes": ["mel"]}))
    with (models / "toy" / "model.keras").open("ab") as file:
        file.write(b"x")
    shutil.copytree(pair / "toy", models / "toy3")
    third = models / "toy3" / "card.json"
    third.write_text(json.dumps({**json.loads(third.read_text()), "id": "toy3", "name": "Third"}))
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    app = upload(open_page("predict"), ("lesion.png", encode(lesion)))
    shown = text(app)
    assert "the classes must be" in shown
    assert "damaged or was changed" in shown
    assert "Only one model calls a diagnosis by itself" in shown


def test_an_image_of_the_isic_archive_comes_through_the_same_door(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(image_id: str) -> bytes:
        asked.append(image_id)
        if len(asked) == 1:
            raise DownloadError("The ISIC Archive cannot be reached. This server may have no network.")
        return encode(lesion)

    monkeypatch.setattr("dermlens.dataset.isic_archive.fetch", fetch)
    app.button_group(key="kind").set_value("By ISIC id")
    check(app.run())
    assert asked == []
    for _ in range(2):
        app.text_input[0].set_value("ISIC_0024306")
        next(b for b in app.button if "ISIC" in b.label).click()
        check(app.run())
        if len(asked) == 1:
            assert "cannot be reached" in app.error[0].value
    assert asked == ["ISIC_0024306"] * 2
    assert "Uncalibrated score" in text(app)


def test_of_a_folder_only_images_are_taken(app: AppTest, lesion: np.ndarray) -> None:
    app.button_group(key="kind").set_value("A folder")
    app.run()
    assert app.file_uploader[0].accept_directory
    upload(app, ("case/a.png", encode(lesion)), ("case/notes.txt", b"text"), ("case/.DS_Store", b"x"))
    shown = text(app)
    assert "2 files of the folder are not images" in shown
    assert "Uncalibrated score" in shown
    assert not app.error


def test_many_refusals_make_a_table(app: AppTest) -> None:
    upload(app, *((f"{i}.png", bytes([i])) for i in range(8)))
    assert "8 files could not be used." in app.error[0].value
    assert app.dataframe[0].value["file"].tolist() == [f"{i}.png" for i in range(8)]
    assert app.file_uploader, "another file can be tried"


def test_squeezed_files_are_stretched_when_the_person_says_so(app: AppTest, lesion: np.ndarray, pair: Path) -> None:
    app.selectbox(key="stored_aspect").set_value("4:3")
    app.run()
    squeezed = np.ascontiguousarray(lesion[:, :90])
    upload(app, ("a.png", encode(squeezed)))
    model = registry.load(registry.find(pair, "toy"))
    stretched = read_image(encode(squeezed), stored_aspect="4:3").pixels
    assert stretched.shape == (90, 120, 3)
    expected = float(predict.predict(model, stretched).probabilities.max())
    assert f" {percent(expected)}" in "".join(str(h.value) for h in app.subheader)


def test_a_file_that_is_read_anew_at_another_aspect_takes_its_own_place_and_keeps_nothing_of_the_old_pixels(
    app: AppTest, lesion: np.ndarray, pair: Path
) -> None:
    app.query_params["show-research"] = "true"
    app.query_params["show-steady"] = "true"
    data = encode(np.ascontiguousarray(lesion[:, :90]))
    toy = registry.load(registry.find(pair, "toy"))

    def probed() -> Stability:
        (key,) = app.session_state["case_images"]
        assert {of for of, _ in app.session_state["case_probes"]} == {key}
        return app.session_state["case_probes"][key, "toy"].result(60)

    for aspect, width in (("as-is", 90), ("4:3", 120), ("as-is", 90)):
        app.selectbox(key="stored_aspect").set_value(aspect)
        app.run()
        upload(app, ("a.png", data))
        (image,) = app.session_state["case_images"].values()
        assert (image.pixels.shape, image.stored_aspect) == ((90, width, 3), aspect)
        pixels = read_image(data, stored_aspect=aspect).pixels
        expected = stability.probe(toy, pixels, predict.predict(toy, pixels))
        for look, right in zip(probed().looks, expected.looks, strict=True):
            np.testing.assert_allclose(look.probabilities, right.probabilities, atol=1e-6)
        check(app.run())
        assert "could not be asked again" not in text(app)
        assert "case_drawn" not in app.session_state or not app.session_state["case_drawn"]
        next(b for b in app.button if b.label == "Draw").click().run()
        check(app)
        (drawn,) = app.session_state["case_drawn"]
        assert drawn[0] == image.key


@pytest.mark.parametrize(("share", "marked"), [(0.2, False), (0.3, True)])
def test_an_answer_that_small_changes_overturn_is_marked_beside_it(
    app: AppTest, lesion: np.ndarray, share: float, marked: bool
) -> None:
    upload(app, ("a.png", encode(lesion)))
    (key,) = app.session_state["case_images"]
    found: Stability = app.session_state["case_probes"][key, "toy"].result(60)
    own, other = INDEX[found.called], (INDEX[found.called] + 1) % len(CLASSES)
    many = [replace(found.looks[0], name=str(i)) for i in range(20)]
    looks = [
        replace(look, called=CLASSES[call], probabilities=0.9 * np.eye(7, dtype=np.float32)[call] + 0.1 / 7)
        for i, look in enumerate(many)
        for call in [other if i < share * 20 else own]
    ]
    done: Future[Stability] = Future()
    done.set_result(replace(found, looks=tuple(looks)))
    app.session_state["case_probes"][key, "toy"] = done
    said = text(check(app.run()))
    assert ("Not a steady answer" in said) is marked
    assert (f"calls {int(share * 20)} of 20 altered copies something else" in said) is marked


def test_what_was_chosen_for_one_case_does_not_reach_the_next(app: AppTest, lesion: np.ndarray) -> None:
    app.selectbox(key="stored_aspect").set_value("4:3")
    app.run()
    upload(app, ("a.png", encode(lesion)))
    app.session_state["prevalence"] = 60.0
    next(b for b in app.button if b.label == "New case").click().run()
    check(app)
    assert app.selectbox(key="stored_aspect").value == "as-is"
    assert "prevalence" not in app.session_state


def test_two_files_of_one_name_have_two_ids_in_the_isic_table(app: AppTest, lesion: np.ndarray, pair: Path) -> None:
    flipped = np.ascontiguousarray(lesion[::-1])
    upload(app, ("a/mole.png", encode(lesion)), ("b/mole.png", encode(flipped)), ("other.png", encode(lesion[:80])))
    images = app.session_state["case_images"]
    model = registry.load(registry.find(pair, "toy"))
    table = isic_table([(image, form([model], image.answers)) for image in images.values()], model)
    first, second, third = table["image"]
    keys = list(images)
    assert (first, second, third) == (f"mole-{keys[0]}", f"mole-{keys[1]}", "other")


def count_pictures(app: AppTest) -> int:
    return len(app.get("imgs")) + len(app.get("image"))


def test_another_method_is_drawn_on_demand(app: AppTest, lesion: np.ndarray) -> None:
    app.query_params["show-research"] = "true"
    upload(app, ("a.png", encode(lesion)))
    pictures = count_pictures(app)
    next(b for b in app.button if b.label == "Draw").click().run()
    check(app)
    assert count_pictures(app) == pictures + 2
    drawn = app.session_state["case_drawn"]
    assert [key[1:3] for key in drawn] == [("toy", "grad_cam_plus_plus")]


def test_a_row_of_the_isic_table_runs_nothing(app: AppTest, lesion: np.ndarray) -> None:
    assert row_id("folder/ISIC_0024306.jpg") == "ISIC_0024306"
    assert row_id("..\\..\\a.b.png") == "a.b"
    assert row_id("=cmd().png") == "'=cmd()", "a spreadsheet must not run it"
    app.query_params["show-research"] = "true"
    app.query_params["show-limits"] = "true"
    upload(app, ("ISIC_1.png", encode(lesion)))
    assert [b.label for b in app.get("download_button") if "ISIC CSV" in b.label] == [
        "All images by Toy toy (ISIC CSV)",
        "All images by Toy toy2 (ISIC CSV)",
    ]
    assert CANNOT_NAME in text(app)


def test_one_file_under_two_names_is_two_rows_and_twice_under_one_name_is_one(app: AppTest, lesion: np.ndarray) -> None:
    data = encode(lesion)
    upload(app, ("a.png", data), ("=b.png", data), ("a.png", data))
    (table,) = app.dataframe
    assert table.value["file"].tolist() == ["a.png", "'=b.png"], "a spreadsheet must not run a file name"
    assert len(set(app.session_state["case_images"])) == 2


def test_masks_in_a_folder_are_passed_over_and_dicom_is_known_by_its_content(app: AppTest, lesion: np.ndarray) -> None:
    app.segmented_control(key="kind").set_value("A folder").run()
    data = encode(lesion)
    files = [("f/ISIC_0000001.png", data), ("f/ISIC_0000001_segmentation.png", data), ("f/IM01", dicom(lesion))]
    upload(app, *files, ("f/notes", b"text"))
    assert app.dataframe[0].value["file"].tolist() == ["f/ISIC_0000001.png", "f/IM01"]
    assert "2 files of the folder are not images, or only masks, and were passed over." in text(app)


def test_a_method_that_is_not_offered_is_named_and_its_map_not_drawn(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = {"toy": ("score_cam",), "toy2": ("grad_cam", "smooth_grad")}
    monkeypatch.setattr("ui.cache.maps_offered", lambda model: offered[model.id])
    app.query_params["show-research"] = "true"
    upload(app, ("a.png", encode(lesion)))
    shown = text(app).replace("\\", "")
    assert app.button_group(key="network").options == ["Toy toy2"]
    assert "Not shown for Toy toy" in shown
    assert app.selectbox(key="method-toy").options == ["Score-CAM"]
    assert "Not offered for this model: Grad-CAM++ and SmoothGrad." in shown


def test_a_link_sets_the_models_for_comparison_before_anything_is_drawn(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lesion: np.ndarray
) -> None:
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    card = models / "toy2" / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "role": "comparison"}))
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    alone = upload(open_page("predict"), ("a.png", encode(lesion)))
    assert "Only one model calls a diagnosis by itself" in text(alone)
    assert [t.label for t in alone.toggle] == ["Show for comparison: Toy toy2"]
    asked = upload(open_page("predict", comparison="true"), ("a.png", encode(lesion)))
    assert "Only one model calls a diagnosis by itself" not in text(asked)
