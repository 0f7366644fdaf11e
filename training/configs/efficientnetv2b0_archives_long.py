"""The published EfficientNetV2B0 continued for three times as long: all stages at 192 px, one cosine.

KERAS_BACKEND=torch python -m training.train efficientnetv2b0_archives_long --data DIR --external DIR

As efficientnetv2b0_archives_more, whose network was still gaining on every validation set when its learning rate ran
out.

Run time and score: not run to the end yet.
"""

from dataclasses import replace

from training.config import Phase
from training.configs import efficientnetv2b0_archives_more

CONFIG = replace(
    efficientnetv2b0_archives_more.CONFIG,
    answer_size=208,
    phases=(Phase(epochs=30, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
)
