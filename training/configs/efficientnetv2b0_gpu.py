"""EfficientNetV2B0 at 224 px in bfloat16 on an accelerator: the head, then all of it with mixup and averaged weights.

KERAS_BACKEND=jax python -m training.train efficientnetv2b0_gpu --data DIR

KERAS_BACKEND=torch works as well. Run time and score: not run here.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(
        Phase(epochs=3, learning_rate=1e-3, unfreeze=0, size=224),
        Phase(epochs=40, learning_rate=5e-4, size=224, warmup_epochs=2),
    ),
    weights="imagenet",
    precision="mixed_bfloat16",
    batch_size=64,
    ema_momentum=0.999,
    weight_decay=5e-2,
    label_smoothing=0.05,
    sampling_power=0.5,
    patience=12,
    augment=Augment(mixup_alpha=0.2, erasing=0.1),
)
