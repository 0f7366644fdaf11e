"""The images of the data sets, if HAM10000_DIR and ISIC2019_DIR name their folders. They are public: cached."""

import numpy as np
import streamlit as st

from dermlens.case.image import thumbnail
from dermlens.case.predict import Prediction, predict
from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import data_root, image_path
from dermlens.errors import DermlensError
from dermlens.files.documents import read_at_most
from dermlens.image.encode import data_uri
from dermlens.ingest.formats import LIMITS
from dermlens.ingest.read import read_file, read_image
from dermlens.models.model import AnyModel, Ensemble
from ui import settings


def at_hand() -> bool:
    """Whether images of HAM10000 can be shown."""
    return data_root() is not None


def others_at_hand() -> bool:
    """Whether images of other archives can be shown."""
    return isic2019.data_root() is not None


def file(image_id: str) -> bytes | None:
    """Return the file of an image of HAM10000, None if it is missing or larger than any that is read."""
    root = data_root()
    try:
        if root is None:
            return None
        with image_path(root, image_id).open("rb") as opened:
            found = read_at_most(opened, LIMITS.bytes + 1)
        return found if len(found) <= LIMITS.bytes else None
    except (DermlensError, OSError):
        return None


@st.cache_data(show_spinner=False, max_entries=1)
def _aspects() -> dict[str, str]:
    """Return image of another archive -> the aspect that its file was squeezed from."""
    try:
        return isic2019.load_external().set_index("image_id")["stored_aspect"].to_dict()
    except DermlensError:
        return {}


def _other_pixels(image_id: str) -> np.ndarray | None:
    root = isic2019.data_root()
    aspect = _aspects().get(image_id)
    if root is None or aspect is None:
        return None
    try:
        return read_file(isic2019.image_path(root, image_id), stored_aspect=aspect).pixels
    except DermlensError:
        return None


@st.cache_data(show_spinner=False, max_entries=64)
def pixels(image_id: str) -> np.ndarray | None:
    """Return an image of HAM10000 or of another archive as (h, w, 3) uint8 RGB, None if it is missing or damaged."""
    data = file(image_id)
    try:
        if data is None:
            return _other_pixels(image_id)
        return read_image(data, stored_aspect=settings.stored_aspect()).pixels
    except DermlensError:
        return None


@st.cache_data(show_spinner=False, max_entries=4096)
def small(image_id: str) -> str | None:
    """Return a thumbnail as a data URI, None if the image is missing."""
    found = pixels(image_id)
    return None if found is None else data_uri(thumbnail(found, 64))


def answer(image_id: str, model: AnyModel) -> Prediction | None:
    """Return what a model says about an image of the data set, None if the image is missing."""
    return _answer(image_id, model.id, model.identity, model)


@st.cache_data(show_spinner=False, max_entries=256)
def _answer(image_id: str, model_id: str, identity: str, _model: AnyModel) -> Prediction | None:
    found = pixels(image_id)
    if found is None:
        return None
    each = {m.id: answer(image_id, m) for m in _model.members} if isinstance(_model, Ensemble) else {}
    return predict(_model, found, {name: a for name, a in each.items() if a is not None})
