"""EfficientNetV2B0 that never saw a vascular lesion, to measure how a network meets a diagnosis it does not know.

python -m training.train leave_out_vasc --data DIR --set weights=ARCHIVE

The first two phases of efficientnetv2b0, shortened. Not a model to serve: its answer to "vasc" is always wrong.

Run time and score: not run here yet.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(
        Phase(epochs=3, learning_rate=3e-3, unfreeze=0, size=128, cached_views=1),
        Phase(epochs=5, learning_rate=1e-3, unfreeze=3, size=160, cached_views=4, warmup_epochs=0.5),
    ),
    label_smoothing=0.05,
    sampling_power=0.5,
    leave_out="vasc",
    augment=Augment(),
)
