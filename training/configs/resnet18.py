"""ResNet-18 from scratch: a residual network small enough for two CPU cores.

python -m training.train resnet18 --data DIR

Run time and score: not run here.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet18",
    phases=(Phase(epochs=40, learning_rate=1e-3, size=96, warmup_epochs=1),),
    weights="none",
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
