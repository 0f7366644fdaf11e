from collections.abc import Iterator

import numpy as np
import pytest

from dermlens.case.image import CaseImage, examine
from dermlens.interchange.dicom.identity import Identity
from dermlens.models.model import Model
from tests.conftest import encode
from tests.interchange.dicom import orthanc
from tests.optional import need

TYPED = Identity("P-4711", "Müller^Änne", "19500401", "F", "ACC-1")


@pytest.fixture(scope="session")
def pacs() -> Iterator[str]:
    """The address of a real Orthanc's DICOMweb service."""
    need(orthanc.program() is not None, "no Orthanc with DICOMweb found: `make orthanc` installs it")
    with orthanc.server() as url:
        yield url


@pytest.fixture
def image(toy: Model, lesion: np.ndarray) -> CaseImage:
    return examine(encode(lesion), "Jane Doe 1970-01-01.png", [toy])
