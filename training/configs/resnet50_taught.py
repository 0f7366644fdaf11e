"""ResNet50 on two CPU cores, gone on with and taught by EfficientNetV2B0: conv3 to conv5 at 160 px, with averaging.

python -m training.train resnet50_taught --data DIR

Unlike resnet50, every epoch sees fresh augmented images, not a few cached views of them, and the answers of
models/efficientnetv2b0 to the same images are mixed into the labels.

Run time and score: not run here.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(Phase(epochs=5, learning_rate=3e-4, unfreeze=3, size=160, warmup_epochs=0.5),),
    start="resnet50",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="efficientnetv2b0",
    augment=Augment(),
)
