"""EfficientNetV2B0 on two CPU cores, gone on with at full size: all stages at 224 px, mixup, taught by ResNet50.

python -m training.train efficientnetv2b0_224 --data DIR

It starts from the published network, trained at 192 px, which is too sure of itself on validation (cross-entropy 0.424
at an accuracy of 0.875, against 0.378 at 0.870 of ResNet50): mixup is there for that. Shown 224 px without training,
it loses 0.009 of its accuracy, so the larger images need these epochs.

Run time and score: not finished here, not published. Epochs 1 and 2 of 3 took 58 minutes on two busy cores.
Validation, one view, no logit adjustment: accuracy 0.857 0.871, balanced 0.755 0.789, melanoma recall 0.533 0.618,
cross-entropy 0.399 0.384.
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
