"""Which answer of an image leads: the one whose diagnosis the card shows."""

from types import SimpleNamespace

import numpy as np

from dermlens.case.opinion import Opinion
from dermlens.case.predict import Prediction
from dermlens.labels import CLASSES
from dermlens.record.answers import prediction_values
from dermlens.trust.fitted import Fitted


def model(name: str) -> SimpleNamespace:
    return SimpleNamespace(
        id=name, name=name, role="diagnosis", weights_sha256="0" * 64, fitted=Fitted(), card={}, members=()
    )


def answer(name: str, code: str) -> Prediction:
    shares = np.full(7, 0.05, np.float32)
    shares[CLASSES.index(code)] = 0.7
    return Prediction(name, np.log(shares), shares, np.zeros((7, 2, 2), np.float32), np.zeros(0, np.float32), 3, 4, 1.0)


def leads(refused: set[str]) -> tuple[Opinion, list[tuple[str, str | None]]]:
    answers = {"first": answer("first", "nv"), "second": answer("second", "mel")}
    accepted = {name: name not in refused for name in answers}
    opinion = Opinion(tuple(map(model, answers)), answers, answers, accepted, frozenset(refused))
    rows = prediction_values(SimpleNamespace(failures={}), opinion, "as-is")
    return opinion, [(row["model_id"], row["called"]) for row in rows if row["lead"]]


def test_the_answer_on_the_card_leads() -> None:
    opinion, found = leads({"first"})
    assert opinion.lead is not None
    assert (opinion.lead.id, opinion.call(opinion.lead).code) == ("second", "mel")
    assert found == [("second", "mel")]
    assert leads(set())[1] == [("first", "nv")]


def test_where_every_model_refuses_the_first_one_leads() -> None:
    opinion, found = leads({"first", "second"})
    assert opinion.lead is None
    assert found == [("first", None)]
