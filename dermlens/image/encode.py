"""Pixels as a picture that a browser can show, and as a hash by which equal pictures are known."""

import base64
import hashlib

import cv2
import numpy as np


def data_uri(pixels: np.ndarray, quality: int = 90) -> str:
    """Encode (h, w, 3) uint8 RGB as a JPEG data URI."""
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode an image of shape {pixels.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def pixels_sha256(pixels: np.ndarray) -> str:
    """Return the SHA-256 of an image's height, width and pixels: equal for equal pictures, whatever their files."""
    digest = hashlib.sha256(b"%d x %d\n" % pixels.shape[:2])
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
