"""ResNet50 from ImageNet on three archives and under any light: all stages, at 160 px and then at 224 px, no teacher.

KERAS_BACKEND=torch python -m training.train resnet50_archives --data DIR --external DIR --set weights=ARCHIVE

An archive of weights may lack the last stage; it then starts from nothing, and learns by heart unless it is held back.
No network teaches it: an ensemble of pupils of each other has nothing to add. Two thirds of the epochs are at 160 px,
where one costs half: what a network learns there it keeps at a larger size (Touvron et al., NeurIPS 2019,
arXiv:1906.06423).

Run time and score: not run yet.
"""

from training.config import Config, Phase
from training.configs._any_light import ANY_LIGHT

CONFIG = Config(
    architecture="resnet50",
    phases=(
        Phase(epochs=24, learning_rate=4e-4, size=160, warmup_epochs=1),
        Phase(epochs=10, learning_rate=1.5e-4, size=224, warmup_epochs=0.5),
    ),
    precision="auto",
    dropout=0.4,
    ema_momentum=0.998,
    weight_decay=5e-2,
    sampling_power=0.5,
    isic2017_share=0.15,
    bcn20000_share=0.25,
    epoch_images=7000,
    augment=ANY_LIGHT,
)
