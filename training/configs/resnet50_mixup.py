"""ResNet50 on two CPU cores, gone on with under mixup, taught by EfficientNetV2B0: conv3 to conv5 at 160 px.

python -m training.train resnet50_mixup --data DIR

It starts from the published network, which without mixup learned the training images by heart (see resnet50_taught).

Run time and score: not run here.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(Phase(epochs=3, learning_rate=2e-4, unfreeze=3, size=160, warmup_epochs=0.5),),
    start="resnet50",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="efficientnetv2b0",
    augment=Augment(mixup_alpha=0.2),
)
