"""The augmentation of networks that are to hold under other lights and in other archives."""

from training.config import Augment

ANY_LIGHT = Augment(
    zoom=0.25,
    saturation=0.2,
    gain=0.18,
    gamma=0.25,
    blur=0.2,
    jpeg=0.3,
    low_resolution=0.3,
    mixup_alpha=0.2,
    erasing=0.2,
)
