"""The published ResNet50 continued on three archives and under any light: all stages at 160 px, one cosine.

KERAS_BACKEND=torch python -m training.train resnet50_archives_more --data DIR --external DIR

Of every 6,000 drawn images 3,900 are HAM10000's, 780 ISIC 2017's and 1,320 BCN20000's. It starts from the model
`resnet50` in DERMLENS_MODELS (its hash is in run.json). If it loses at home, `training.interpolate` may keep most of
both.

Run time and score: 9 epochs in 75 minutes on two cores with units for bfloat16, other work beside it. One view at
192 px, uncalibrated, on validation: accuracy 0.862, balanced 0.772 and cross-entropy 0.412 on HAM10000 at the last
epoch (0.816, 0.694 and 0.482 after the first), area under the curve of melanoma 0.815 on the other archives. Published
is `training.interpolate --share 0.6 --size 192`: on HAM10000's validation it loses 0.1 points of balanced accuracy, on
the other archives it gains 19 points, and 0.20 of that area. A share of 0.7 at 208 px is worse than at 192
(cross-entropy 0.467 against 0.408).
"""

from dataclasses import replace

from training.config import Phase
from training.configs import resnet50_archives

CONFIG = replace(
    resnet50_archives.CONFIG,
    start="resnet50",
    answer_size=192,
    phases=(Phase(epochs=9, learning_rate=3e-4, size=160, warmup_epochs=0.5),),
    epoch_images=6000,
    isic2017_share=0.13,
    bcn20000_share=0.22,
)
