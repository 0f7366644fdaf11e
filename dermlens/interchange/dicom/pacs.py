"""Sending objects to a PACS by STOW-RS (DICOM PS3.18, 10.5), and making sure that it has them."""

from collections.abc import Callable, Sequence
from http import HTTPStatus

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from dermlens.errors import DermlensError
from dermlens.interchange.dicom.settings import Settings

TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and between two parts of an answer."""


class PacsError(DermlensError):
    """The PACS did not take what was sent."""


def client(settings: Settings) -> DICOMwebClient:
    """Return a client of the PACS; it follows no redirect, so that nothing goes elsewhere."""
    session = requests.Session()
    session.max_redirects = 0
    if settings.user:
        session.auth = (settings.user, settings.password)
    if settings.token:
        session.auth = _bearer(settings.token)
    made = DICOMwebClient(settings.url, session, headers={"Accept": "application/dicom+json"}, timeout=TIMEOUT)
    made.set_http_retry_params(retry=False)  # the outbox tries again
    return made


def _bearer(token: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what adds a bearer's token to a request (RFC 6750, 2.1)."""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


def send(settings: Settings, objects: Sequence[Dataset]) -> None:
    """Send objects of one study; those that the PACS has already are taken again without harm.

    Raises:
        PacsError: it cannot be reached, refuses, or does not have each object afterwards. One sentence without any
            value of the objects.
    """
    pacs = client(settings)
    try:
        answer = pacs.store_instances(objects)
        failed = list(answer.get("FailedSOPSequence") or [])
        if failed and not _has_all(pacs, objects):
            reasons = sorted({f"{int(item.get('FailureReason') or 0):04X}" for item in failed})
            raise PacsError(
                f"The PACS did not take {len(failed)} of {len(objects)} objects (failure reason {', '.join(reasons)})."
            )
        taken = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []}
        for each in objects:
            if each.SOPInstanceUID not in taken:  # the answer does not say: ask
                pacs.retrieve_instance_metadata(each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
    except requests.HTTPError as e:
        status = e.response.status_code if e.response is not None else 0
        if status == HTTPStatus.CONFLICT and _has_all(pacs, objects):
            return
        if status in (401, 403):
            raise PacsError(f"The PACS refused the credentials (status {status}): check the server's settings.") from e
        raise PacsError(f"The PACS answered with an error (status {status}).") from e
    except requests.TooManyRedirects as e:
        raise PacsError("The PACS points elsewhere (a redirect), which is not followed: check its address.") from e
    except (ValueError, KeyError, AttributeError, TypeError) as e:  # of the client, over an answer that is none
        raise PacsError("The PACS gave an answer that is not of DICOMweb: check its address.") from e
    except requests.RequestException as e:
        raise PacsError("The PACS cannot be reached.") from e


def _has_all(pacs: DICOMwebClient, objects: Sequence[Dataset]) -> bool:
    """Return whether a PACS has all objects: one that refuses what it has took them before, and its answer was lost."""
    try:
        for each in objects:
            pacs.retrieve_instance_metadata(each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
    except (requests.RequestException, ValueError, KeyError, AttributeError, TypeError):
        return False
    return True


def named(objects: Sequence[Dataset]) -> list[str]:
    """Return what each object is, as a person reads it."""
    return [each.SOPClassUID.name.removesuffix(" Storage") for each in objects]
