"""What leaves a page is written into the record first; what cannot be written down does not leave."""

import logging
from collections.abc import Callable

from dermlens.case.image import CaseImage
from dermlens.errors import RecordError
from dermlens.image.encode import pixels_sha256
from dermlens.record import disclosures
from ui.record import session

logger = logging.getLogger(__name__)


def noted(
    make: Callable[[], bytes], what: str, image: CaseImage | None = None, lesion_id: int | None = None
) -> Callable[[], bytes]:
    """Return what makes a download and writes it down before it is handed out.

    Args:
        make: makes the file. what: key of vocabulary.DISCLOSED.
        image: that it is about, if it is one; its case too, where it is saved. lesion_id: the case that it is about.

    Raises:
        RecordError: the sign-in gives no role or group.
    """
    who, entries = session.who(), session.entries()

    def made() -> bytes:  # after the run that offered it, in another thread
        data = make()
        try:
            pixels = None if image is None else pixels_sha256(image.pixels)
            case = lesion_id if image is None else _case(entries, image)
            disclosures.note(session.record(), who, what, lesion_id=case, pixels_sha256=pixels, data=data)
        except RecordError as e:
            logger.warning("not handed out, as it cannot be written into the record: %s", e)
            raise
        return data

    return made


def sends(image: CaseImage, host: str) -> int:
    """Write down that an image is about to be sent to a PACS; returns the number of the row.

    Raises:
        RecordError: it cannot be written down, so it must not be sent.
    """
    case = _case(session.entries(), image)
    who, pixels = session.who(), pixels_sha256(image.pixels)
    return disclosures.note(session.record(), who, "dicom", host, case, pixels)


def arrived(number: int | None) -> None:
    """Write down that the PACS has what was sent; number: of the row, None if there is none."""
    if number is not None:
        disclosures.arrived(session.record(), number)


def _case(entries: dict[str, session.Entry], image: CaseImage) -> int | None:
    entry = entries.get(image.key)
    return entry.saved.lesion_id if entry is not None and entry.saved is not None else None
