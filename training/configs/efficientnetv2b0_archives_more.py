"""EfficientNetV2B0 of efficientnetv2b0_archives continued by a second cosine, with more of HAM10000.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives_more --data DIR --external DIR

Of every 7,000 drawn images 5,250 are HAM10000's, 700 ISIC 2017's and 1,050 BCN20000's. It starts from the model
`efficientnetv2b0` in DERMLENS_MODELS (its hash is in run.json).

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import efficientnetv2b0_archives

CONFIG = replace(
    efficientnetv2b0_archives.CONFIG,
    start="efficientnetv2b0",
    phases=(Phase(epochs=12, learning_rate=3e-4, size=224, warmup_epochs=0.5),),
    isic2017_share=0.10,
    bcn20000_share=0.15,
)
