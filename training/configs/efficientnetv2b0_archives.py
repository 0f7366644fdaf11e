"""EfficientNetV2B0 from ImageNet on three archives and under any light: all stages at 224 px, one cosine.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives --data DIR --external DIR --set weights=ARCHIVE

Of every 7,000 drawn images 4,200 are HAM10000's, 1,050 ISIC 2017's and 1,750 BCN20000's (small ones, enlarged).

Run time and score: not run to the end yet.
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
