"""ResNet-18 of `resnet18_more` continued at 160 px: the third step of the light model.

KERAS_BACKEND=torch python -m training.train resnet18_160 --data DIR --external DIR

It starts from the model `resnet18` in DERMLENS_MODELS (its hash is in run.json), and is taught by the ensemble there.

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import resnet18

CONFIG = replace(
    resnet18.CONFIG,
    start="resnet18",
    phases=(Phase(epochs=14, learning_rate=5e-4, size=160, warmup_epochs=0.5),),
)
