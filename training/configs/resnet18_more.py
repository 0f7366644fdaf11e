"""ResNet-18 of `resnet18` continued at 128 px: twice as many images again, at the size that gained most.

KERAS_BACKEND=torch python -m training.train resnet18_more --data DIR --external DIR

It starts from the model `resnet18` in DERMLENS_MODELS (its hash is in run.json), and is taught by the ensemble there.

Run time and score: 24 epochs in 131 minutes on two cores of an AMD EPYC in float32, other work beside it. On
validation, four views, calibrated by cross-fitting: accuracy 0.809, balanced accuracy at an equal mix 0.692 and
cross-entropy 0.491 on HAM10000 (0.796, 0.652 and 0.546 before); area under the curve of melanoma 0.783 on the other
archives (0.752 before). The loss in training still fell.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import resnet18

CONFIG = replace(
    resnet18.CONFIG,
    start="resnet18",
    phases=(Phase(epochs=24, learning_rate=7e-4, size=128, warmup_epochs=0.5),),
)
