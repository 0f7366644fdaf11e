"""A plain CNN of five blocks from scratch: what a network gives without ImageNet and without depth.

python -m training.train baseline_cnn --data DIR

Run time: 11 minutes on two shared cores. Its accuracy is in the model card in models/baseline_cnn.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="baseline_cnn",
    phases=(Phase(epochs=12, learning_rate=2e-3, size=64, warmup_epochs=1),),
    weights="none",
    label_smoothing=0.05,
    sampling_power=0.5,
    augment=Augment(),
)
