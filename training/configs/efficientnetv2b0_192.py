"""EfficientNetV2B0 on two CPU cores, gone on with: all stages at 192 px from models/efficientnetv2b0, with averaging.

python -m training.train efficientnetv2b0_192 --data DIR

Run time and score: not run here to the end. Stopped after its first epoch on two busy cores (27 minutes; a step alone
took 2.1 s): validation accuracy 0.840, balanced 0.704, one view, no logit adjustment, which is where it started from.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=7, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
    start="efficientnetv2b0",
    ema_momentum=0.995,
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
