"""ResNet-18 from scratch, taught by the ensemble: the light model, small enough for a tablet.

KERAS_BACKEND=torch python -m training.train resnet18 --data DIR --external DIR

Run time and score: 25 epochs in 102 minutes on two cores of an AMD EPYC in float32, other work beside it. On
validation, four views, calibrated by cross-fitting: accuracy 0.796, balanced accuracy at an equal mix 0.652 and
cross-entropy 0.546 on HAM10000; area under the curve of melanoma 0.752 on the other archives. All epochs at 128 px but
the first were better than any at 96 px, and the loss in training still fell: too little was trained, so it is not
published.
"""

from dataclasses import replace

from training.config import Config, Phase
from training.configs._any_light import ANY_LIGHT

CONFIG = Config(
    architecture="resnet18",
    phases=(
        Phase(epochs=10, learning_rate=1.4e-3, size=64, warmup_epochs=1),
        Phase(epochs=10, learning_rate=1e-3, size=96),
        Phase(epochs=5, learning_rate=4e-4, size=128),
    ),
    weights="none",
    batch_size=64,
    precision="auto",
    ema_momentum=0.996,
    sampling_power=0.5,
    isic2017_share=0.15,
    bcn20000_share=0.15,
    epoch_images=7000,
    teacher="ensemble",
    augment=replace(ANY_LIGHT, mixup_alpha=0.0, erasing=0.0),  # so few epochs do not learn by heart
)
