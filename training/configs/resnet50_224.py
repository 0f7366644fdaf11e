"""ResNet50 on two CPU cores, gone on with at full size: conv3 to conv5 at 224 px, taught by EfficientNetV2B0.

python -m training.train resnet50_224 --data DIR

It starts from the published network, trained at 160 px, and is taught at the size its teacher was trained at. Mixup is
half as strong as in resnet50_mixup, which lost accuracy by it, and so is the learning rate.

Run time and score: not run here yet.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(Phase(epochs=3, learning_rate=1e-4, unfreeze=3, size=224, warmup_epochs=0.5),),
    start="resnet50",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="efficientnetv2b0",
    augment=Augment(mixup_alpha=0.1),
)
