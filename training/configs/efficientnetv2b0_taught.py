"""EfficientNetV2B0 on two CPU cores, continued and taught by ResNet50: all stages at 192 px, with averaging.

python -m training.train efficientnetv2b0_taught --data DIR

The answers of models/resnet50 to the same augmented images are mixed into the labels, as resnet50_taught did it the
other way about.

Run time and score: 90 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and RandomAffine done by single
torch operations of the same result). Validation, one view, no logit adjustment, epoch 1 to 6: accuracy 0.863 0.857
0.862 0.863 0.871 0.869, balanced 0.790 0.774 0.775 0.775 0.787 0.787, melanoma recall 0.612 0.552 0.612 0.600 0.636
0.636. Published was epoch 6 (--last): on validation, four views, its macro AUC is 0.975 against 0.971 of epoch 1, its
cross-entropy 0.424 against 0.428. With a melanoma weight of 1.5: validation accuracy 0.870, balanced 0.796, melanoma
recall 0.691. It started from the network of efficientnetv2b0_192 (its hash is in run.json); the same command now goes
on from this one.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="efficientnetv2b0",
    phases=(Phase(epochs=6, learning_rate=3e-4, size=192, warmup_epochs=0.5),),
    start="efficientnetv2b0",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="resnet50",
    augment=Augment(),
)
