"""ResNet50 on two CPU cores, gone on with and taught by EfficientNetV2B0: conv3 to conv5 at 160 px, with averaging.

python -m training.train resnet50_taught --data DIR

Unlike resnet50, every epoch sees fresh augmented images, not a few cached views of them, and the answers of
models/efficientnetv2b0 to the same images are mixed into the labels.

Run time and score: 102 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and RandomAffine done by single
torch operations of the same result). Validation, one view, no logit adjustment: accuracy 0.847 -> 0.857, balanced
0.726 -> 0.769 from epoch 1 to epoch 5, the published one; balanced accuracy rose in every epoch, so more may give more.
Published (four views, logit adjustment 0.7): validation accuracy 0.832, balanced 0.799, melanoma recall 0.661; at 0.2,
the choice without melanoma recall, it was 0.861, 0.777 and 0.600. It started from the network of the config resnet50
(its hash is in run.json); the same command now goes on from this one.
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
