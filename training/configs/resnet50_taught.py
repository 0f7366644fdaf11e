"""ResNet50 on two CPU cores, continued and taught by EfficientNetV2B0: conv3 to conv5 at 160 px, with averaging.

python -m training.train resnet50_taught --data DIR

Unlike resnet50, every epoch sees fresh augmented images, not a few cached views of them, and the answers of
models/efficientnetv2b0 to the same images are mixed into the labels.

Run time and score: 102 minutes on two cores with KERAS_BACKEND=torch (Keras' batch norm and RandomAffine done by single
torch operations of the same result). Validation, one view, no logit adjustment: accuracy 0.847 -> 0.857, balanced
0.726 -> 0.769 from epoch 1 to epoch 5. It started from the network of the config resnet50.

A second pass went on from that, taught by the network of efficientnetv2b0_taught, with --set phases.0.epochs=4 --set
phases.0.learning_rate=2e-4. Epoch 1 to 3, 22 minutes each: accuracy 0.868 0.865 0.857, balanced 0.756 0.748 0.736,
cross-entropy 0.383 0.398 0.412. It began to learn the training images by heart (accuracy on them, augmented: 0.880
0.906 0.925) and was stopped in epoch 4. Published was epoch 1, and resnet50_224 went on from it. With four
views, logit adjustment 0.2 and melanoma weight 1.5: validation accuracy 0.862, balanced 0.799, melanoma recall 0.709.
"""

from training.config import Augment, Config, Phase

CONFIG = Config(
    architecture="resnet50",
    phases=(Phase(epochs=5, learning_rate=3e-4, unfreeze=3, size=160, warmup_epochs=0.5),),
    start="resnet50",
    ema_momentum=0.995,
    sampling_power=0.5,
    teacher="efficientnetv2b0",
    augment=Augment(),
)
