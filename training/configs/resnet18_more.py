"""ResNet-18 of `resnet18` continued at 128 px: twice as many images again, at the size that gained most.

KERAS_BACKEND=torch python -m training.train resnet18_more --data DIR --external DIR

It starts from the model `resnet18` in DERMLENS_MODELS (its hash is in run.json), and is taught by the ensemble there.

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import resnet18

CONFIG = replace(
    resnet18.CONFIG,
    start="resnet18",
    phases=(Phase(epochs=24, learning_rate=7e-4, size=128, warmup_epochs=0.5),),
)
