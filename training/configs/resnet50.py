"""ResNet50 on two CPU cores, taught by EfficientNetV2B0: conv5 and the head on cached conv4 features.

python -m training.train resnet50 --data DIR --set weights=ARCHIVE

The local archive lacks nine conv5 convolutions, so conv5 starts nearly from scratch. Training conv4 as well, on three
cached views at 2e-4 after four epochs like these without a teacher, made it worse: validation accuracy 0.854 / balanced
0.707 before, 0.839 / 0.631 four epochs later; at 5e-4 with Keras' batch-norm momentum of 0.99 it fell to 0.269.

Run time and score: not run here to the end yet.
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
