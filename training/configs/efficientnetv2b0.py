"""EfficientNetV2B0 on two CPU cores: head, then the later stages on cached early features, then all of it at 192 px.

python -m training.train efficientnetv2b0 --data DIR --set weights=ARCHIVE

Run time and score: not run here to the end yet. After 12 epochs, 35 minutes on two shared cores, validation accuracy
0.842, balanced 0.719 (one view, no logit adjustment). An earlier run with four views and the
same first two phases, 29 minutes: 0.847 / 0.693; efficientnetv2b0_192 went on from that one.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(
        Phase(epochs=4, learning_rate=3e-3, unfreeze=0, size=128),
        Phase(epochs=8, learning_rate=1e-3, unfreeze=3, size=160, warmup_epochs=0.5),
        Phase(epochs=5, learning_rate=4e-4, size=192, warmup_epochs=0.2),
    ),
    ema_momentum=0.0,
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
