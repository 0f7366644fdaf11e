"""ResNet50 on two CPU cores, continued with mixup, taught by EfficientNetV2B0: conv3 to conv5 at 160 px.

python -m training.train resnet50_mixup --data DIR

It started from the network of resnet50_taught, which without mixup learned the training images by heart.

Run time and score: stopped after 2 of 3 epochs, 37 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and
RandomAffine done by single torch operations of the same result); not published. Validation, one view, no logit
adjustment, against 0.868, 0.756 and 0.383 of the network it started from: accuracy 0.852 0.853, balanced 0.721 0.738,
cross-entropy 0.423 0.424. Means of its weights and those it started from are no better than the latter (0.868, 0.755,
0.387 half way between them).
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
