"""ResNet50 on two CPU cores: conv5 and the head on cached conv4 features, then conv4 and conv5 on cached conv3.

python -m training.train resnet50 --data DIR --set weights=ARCHIVE

The local archive lacks nine conv5 convolutions, so conv5 starts nearly from scratch and trains in both phases. The
second phase made it worse: validation accuracy 0.854 / balanced 0.707 (one view) after epoch 4, 0.842 / 0.619 after
epoch 9 of 10, where it was stopped. At 5e-4, with Keras' batch-norm momentum of 0.99, it had fallen to 0.269 in one
epoch. The weights of epoch 4 were published, and resnet50_taught went on from them.

Run time: 16 minutes to epoch 4, 41 to epoch 9, on two shared cores. Published (four views, logit adjustment 0.4):
validation accuracy 0.842, balanced 0.753.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(
        Phase(epochs=4, learning_rate=1e-3, unfreeze=1, size=160, warmup_epochs=0.5),
        Phase(epochs=6, learning_rate=2e-4, unfreeze=2, size=160, warmup_epochs=0.3),
    ),
    precision="mixed_bfloat16",
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
