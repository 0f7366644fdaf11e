"""Pixels as a picture that a browser can show."""

import base64

import cv2
import numpy as np


def data_uri(pixels: np.ndarray, quality: int = 90) -> str:
    """Encode (h, w, 3) uint8 RGB as a JPEG data URI."""
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode an image of shape {pixels.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
