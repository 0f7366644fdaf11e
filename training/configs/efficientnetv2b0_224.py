"""EfficientNetV2B0 on two CPU cores, continued at full size: all stages at 224 px, mixup, taught by ResNet50.

python -m training.train efficientnetv2b0_224 --data DIR

It started from the network of efficientnetv2b0_taught, trained at 192 px, which was too sure of itself on validation
(cross-entropy 0.424 at an accuracy of 0.875, against 0.378 at 0.870 of ResNet50): mixup is there for that. Shown 224 px
without training, it lost 0.009 of its accuracy, so the larger images needed these epochs.

Run time and score: 39 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and RandomAffine done by single
torch operations of the same result). Validation, one view, no logit adjustment, epochs 1 to 3: accuracy 0.857 0.871
0.871, balanced 0.755 0.789 0.798, melanoma recall 0.533 0.618 0.600, cross-entropy 0.399 0.384 0.383. Published was
epoch 3; the model card has its figures with four views, calibrated.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=3, learning_rate=2e-4, size=224, warmup_epochs=0.5),),
    start="efficientnetv2b0",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="resnet50",
    augment=Augment(mixup_alpha=0.2),
)
