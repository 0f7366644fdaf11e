"""EfficientNetV2B0 on two CPU cores, continued: all stages at 192 px from models/efficientnetv2b0, with averaging.

python -m training.train efficientnetv2b0_192 --data DIR

Run time and score: 51 minutes on two cores with KERAS_BACKEND=torch, an epoch 7 minutes at its best (Keras' batch norm
and RandomAffine done by single torch operations of the same result; as they are, on torch or TensorFlow, about 10).
Validation, one view, no logit adjustment: accuracy 0.840 -> 0.859, balanced 0.704 -> 0.753 after epoch 5; 0.865 /
0.753 after epoch 6. Epoch 5 with four views and logit adjustment 0.3: validation accuracy 0.869, balanced 0.793. It
started from the network of efficientnetv2b0, and efficientnetv2b0_taught went on from it; the same command now goes on
from the published one.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=6, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
    start="efficientnetv2b0",
    ema_momentum=0.995,
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
