"""ResNet-18 from scratch, taught by the ensemble: the light model, small enough for a tablet.

KERAS_BACKEND=torch python -m training.train resnet18 --data DIR --external DIR

Run time and score: not run yet.
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
