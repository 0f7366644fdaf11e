"""EfficientNetV2B0 that never saw a vascular lesion, to measure how a network meets a diagnosis it does not know.

python -m training.train leave_out_vasc --data DIR --set weights=ARCHIVE

The first two phases of efficientnetv2b0, shortened. Not a model to serve: its answer to "vasc" is always wrong.

Run time, beside other work on two cores: about 50 minutes. Score, one view, no logit adjustment: validation 0.839
accuracy, 0.688 balanced over the six diagnoses it knows. Its embeddings (python -m training.fit ID --only embeddings)
tell the 20 vascular images of test from the other 1,451 with an AUROC of 0.844 (0.788 to 0.899); at the threshold that
accepts 97 % it refuses 10 % of them (2.6 to 31.6 %). All 20 it would call nevus (15) or basal cell carcinoma (5), half
of them with more than 0.81: images of a diagnosis outside those it was taught mostly pass as something else.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(
        Phase(epochs=3, learning_rate=3e-3, unfreeze=0, size=128),
        Phase(epochs=5, learning_rate=1e-3, unfreeze=3, size=160, warmup_epochs=0.5),
    ),
    label_smoothing=0.05,
    sampling_power=0.5,
    leave_out="vasc",
    augment=Augment(),
)
