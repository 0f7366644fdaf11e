"""ResNet50 on two CPU cores, taught by EfficientNetV2B0: conv5 and the head on cached conv4 features.

python -m training.train resnet50_taught --data DIR --set weights=ARCHIVE

As phase 1 of resnet50, longer, with the answers of models/efficientnetv2b0 to the same views mixed into the labels.

Run time and score: not run here.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(Phase(epochs=6, learning_rate=1e-3, unfreeze=1, size=160, cached_views=4, warmup_epochs=0.5),),
    precision="mixed_bfloat16",
    sampling_power=0.5,
    teacher="efficientnetv2b0",
    augment=Augment(),
)
