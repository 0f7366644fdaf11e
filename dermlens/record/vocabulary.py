"""The words that the record's columns may hold, and what people read for them."""

SITES = (
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck"),
    *("scalp", "trunk", "upper extremity"),
)
"""Where on the body: HAM10000's words, so that cases of the record and of the data set can be compared."""
SIDES = ("left", "right", "midline")
VIEWS = ("front", "back")
"""Of the body map."""
SEXES = ("female", "male", "other")
CONSENTS = {
    "record": "Keep the answers in the record",
    "pictures": "Keep the picture too",
    "training": "Keep the picture, and train models with it",
}
"""What a patient agreed to; each includes those before it."""
STAGES = {"before": "before the model's answer", "after": "with the model's answer"}
MANAGEMENTS = {
    "none": "No action needed",
    "follow-up": "Follow up",
    "biopsy": "Biopsy",
    "excision": "Excise",
    "treatment": "Treat without histology",
    "referral": "Refer to a colleague",
}
BASES = {
    "histology": "Histology",
    "follow-up": "Follow-up",
    "consensus": "Consensus",
    "confocal": "Confocal microscopy",
}
"""What an outcome rests on; HAM10000 knows the same four."""
DISCLOSED = {
    "report": "Report, HTML",
    "report pdf": "Report, PDF",
    "fhir": "FHIR",
    "dicom": "DICOM objects",
    "isic": "Table of the images on the page",
    "answers": "Table of answers",
    "readings": "Table of readings",
    "open cases": "List of open cases",
    "second look": "Cases to be labelled",
}
"""What may leave."""
OTHER = "other"
"""A diagnosis that is none of the seven, given in words."""
ROLES = ("reader", "clinician", "admin")
"""Each may do what those before it may."""


def covers(scope: str | None, wanted: str) -> bool:
    """Return whether a consent, None if there is none, includes what is wanted; both keys of CONSENTS."""
    return scope in CONSENTS and list(CONSENTS).index(str(scope)) >= list(CONSENTS).index(wanted)
