"""The published EfficientNetV2B0 continued on three archives and under any light: all stages at 192 px, one cosine.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives_more --data DIR --external DIR

Of every 7,000 drawn images 4,550 are HAM10000's, 910 ISIC 2017's and 1,540 BCN20000's. It starts from the model
`efficientnetv2b0` in DERMLENS_MODELS (its hash is in run.json). If it loses at home, `training.interpolate` may keep
most of both.

It answers at 224 px.

Run time and score: 10 epochs in 61 minutes on two cores with units for bfloat16, other work beside it. One view at
192 px, uncalibrated, on validation: accuracy 0.847, balanced 0.751 and cross-entropy 0.405 on HAM10000 at the best
epoch (0.836, 0.716 and 0.438 after the first), area under the curve of melanoma 0.796 on the other archives (0.639
before). At 224 px it is worse (accuracy 0.823). Published is `training.interpolate --share 0.4 --size 208`: on
HAM10000's validation it loses 0.5 points of balanced accuracy, on the other archives it gains 15.6 points, and 0.17 of
that area.
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
