"""EfficientNetV2B0 from ImageNet on three archives and under any light: all stages at 224 px, one cosine.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives --data DIR --external DIR --set weights=ARCHIVE

Of every 7,000 drawn images 4,200 are HAM10000's, 1,050 ISIC 2017's and 1,750 BCN20000's (small ones, enlarged).

Run time and score: 30 epochs of 260 s on one core of an AMD EPYC in bfloat16. On validation, four views, calibrated by
cross-fitting: accuracy 0.843, balanced accuracy at an equal mix 0.791, cross-entropy 0.399 on HAM10000; area under the
curve of melanoma 0.812 on ISIC 2017 and 0.811 on BCN20000 (0.680 and 0.622 for the network published before, which
has 0.870, 0.819 and 0.350 at home). Its loss was still falling.
"""

from training.config import Config, Phase
from training.configs._any_light import ANY_LIGHT

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=30, learning_rate=5e-4, size=224, warmup_epochs=1),),
    precision="auto",
    ema_momentum=0.998,
    weight_decay=2e-2,
    sampling_power=0.5,
    isic2017_share=0.15,
    bcn20000_share=0.25,
    epoch_images=7000,
    augment=ANY_LIGHT,
)
