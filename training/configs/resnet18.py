"""ResNet-18 from scratch, taught by the ensemble: the light model, small enough for a tablet.

KERAS_BACKEND=torch python -m training.train resnet18 --data DIR --external DIR

Run time and score: not run yet.
"""

from training.config import Config, Phase
from training.configs._any_light import ANY_LIGHT

CONFIG = Config(
    architecture="resnet18",
    phases=(  # a small picture costs a quarter of one twice its side
        Phase(epochs=14, learning_rate=1e-3, size=64, warmup_epochs=1),
        Phase(epochs=8, learning_rate=7e-4, size=96),
        Phase(epochs=4, learning_rate=3e-4, size=128),
    ),
    weights="none",
    precision="auto",
    ema_momentum=0.998,
    sampling_power=0.5,
    isic2017_share=0.15,
    bcn20000_share=0.15,
    epoch_images=7000,
    teacher="ensemble",
    augment=ANY_LIGHT,
)
