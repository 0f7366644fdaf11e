"""The published ResNet50 continued for three times as long: all stages at 160 px, one cosine.

KERAS_BACKEND=torch python -m training.train resnet50_archives_long --data DIR --external DIR

As resnet50_archives_more, whose network was still gaining on every validation set when its learning rate ran out.

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import resnet50_archives_more

CONFIG = replace(
    resnet50_archives_more.CONFIG,
    phases=(Phase(epochs=27, learning_rate=3e-4, size=160, warmup_epochs=0.5),),
)
