"""The published EfficientNetV2B0 continued on three archives and under any light: all stages at 192 px, one cosine.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives_more --data DIR --external DIR

Of every 7,000 drawn images 4,550 are HAM10000's, 910 ISIC 2017's and 1,540 BCN20000's. It starts from the model
`efficientnetv2b0` in DERMLENS_MODELS (its hash is in run.json). If it loses at home, `training.interpolate` may keep
most of both.

It answers at 224 px.

Run time and score: not run to the end yet. With the last three stages alone, after four epochs, one view,
uncalibrated, validation accuracy was 0.834 and cross-entropy 0.445 on HAM10000, where it began near 0.383, and the area
under the curve of melanoma 0.791 on the other archives.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import efficientnetv2b0_archives

CONFIG = replace(
    efficientnetv2b0_archives.CONFIG,
    start="efficientnetv2b0",
    answer_size=224,
    phases=(Phase(epochs=10, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
    isic2017_share=0.13,
    bcn20000_share=0.22,
)
