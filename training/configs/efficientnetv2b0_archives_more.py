"""The published EfficientNetV2B0 continued on three archives and under any light: its last three stages alone.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives_more --data DIR --external DIR

Of every 7,000 drawn images 4,340 are HAM10000's, 980 ISIC 2017's and 1,680 BCN20000's. It starts from the model
`efficientnetv2b0` in DERMLENS_MODELS (its hash is in run.json); the first four stages keep what
they have learned, which saves a third of the time on a processor without units for bfloat16.

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import efficientnetv2b0_archives

CONFIG = replace(
    efficientnetv2b0_archives.CONFIG,
    start="efficientnetv2b0",
    phases=(
        Phase(epochs=6, learning_rate=4e-4, unfreeze=3, size=192, warmup_epochs=0.5),
        Phase(epochs=2, learning_rate=1e-4, unfreeze=3, size=224),
    ),
    ema_momentum=0.995,
    isic2017_share=0.14,
    bcn20000_share=0.24,
)
