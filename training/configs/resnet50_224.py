"""ResNet50 on two CPU cores, continued at full size: conv3 to conv5 at 224 px, taught by EfficientNetV2B0.

python -m training.train resnet50_224 --data DIR

It started from the network of resnet50_taught, trained at 160 px, and was taught at the size of its teacher. Mixup is
half as strong as in resnet50_mixup, which lost accuracy by it, and so is the learning rate.

Run time and score: 64 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and RandomAffine done by single
torch operations of the same result). Validation, one view, no logit adjustment, epochs 1 to 3: accuracy 0.873 0.871
0.870, balanced 0.773 0.762 0.766, melanoma recall 0.606 0.624 0.667, cross-entropy 0.387 0.391 0.398. Published was
epoch 1; the model card has its figures with four views, calibrated.
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
