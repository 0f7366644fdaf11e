"""The published recipe for HAM10000: ConvNeXt-Base, its head, then its last three stages, with focal loss.

KERAS_BACKEND=jax python -m training.train convnext_base --data DIR

Run time and score: not run here; it wants an accelerator. Published with it on a split without a leak: 0.855
accuracy, 0.787 balanced accuracy, 0.556 melanoma recall.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="convnext_base",
    phases=(
        Phase(epochs=25, learning_rate=1e-3, unfreeze=0, size=224),
        Phase(epochs=10, learning_rate=1e-4, unfreeze=3, size=224),
    ),
    weights="imagenet",
    loss="focal",
    focal_alpha=1.0,
    focal_gamma=2.0,
    weight_decay=1e-2,
    augment=Augment(
        rotation_degrees=20.0, zoom=0.0, translation=0.0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05
    ),
)
