"""EfficientNetV2B0 on two CPU cores, gone on with and taught by ResNet50: all stages at 192 px, with averaging.

python -m training.train efficientnetv2b0_taught --data DIR

The answers of models/resnet50 to the same augmented images are mixed into the labels, as resnet50_taught did it the
other way about.

Run time and score: not run here to the end yet.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=6, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
    start="efficientnetv2b0",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="resnet50",
    augment=Augment(),
)
