"""ResNet50 and EfficientNetV2B0 as one would write them in torch alone: what training here is measured against."""

import torch
from torch import nn

from dermlens.labels import N_CLASSES


def convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its batch norm."""
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outside)]


class Bottleneck(nn.Module):
    """The block of ResNet50 (He et al., CVPR 2016)."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inside, width, 1, stride),
            nn.ReLU(inplace=True),
            *convolution(width, width, 3),
            nn.ReLU(inplace=True),
            *convolution(width, 4 * width, 1),
        )
        projected = stride > 1 or inside != 4 * width
        self.shortcut = nn.Sequential(*convolution(inside, 4 * width, 1, stride)) if projected else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """Return ResNet50 with seven outputs."""
    layers = [*convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(Bottleneck(inside, width, stride if i == 0 else 1))
            inside = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(inside, N_CLASSES))


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, width, 1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """The blocks of EfficientNetV2 (Tan & Le, ICML 2021), the fused one included."""

    def __init__(self, inside: int, outside: int, expand: int, stride: int, fused: bool) -> None:
        super().__init__()
        width = inside * expand
        if fused and expand == 1:
            layers = [*convolution(inside, outside, 3, stride), nn.SiLU(inplace=True)]
        elif fused:
            layers = [*convolution(inside, width, 3, stride), nn.SiLU(inplace=True), *convolution(width, outside, 1)]
        else:
            layers = [*convolution(inside, width, 1), nn.SiLU(inplace=True)]
            layers += [*convolution(width, width, 3, stride, width), nn.SiLU(inplace=True)]
            layers += [Squeeze(width, inside // 4), *convolution(width, outside, 1)]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def efficientnetv2b0() -> nn.Module:
    """Return EfficientNetV2B0 with seven outputs."""
    layers = [*convolution(3, 32, 3, 2), nn.SiLU(inplace=True)]
    inside = 32
    stages = ((16, 1, 1, 1), (32, 2, 4, 2), (48, 2, 4, 2), (96, 3, 4, 2), (112, 5, 6, 1), (192, 8, 6, 2))
    for stage, (outside, count, expand, stride) in enumerate(stages):
        for i in range(count):
            layers.append(Inverted(inside, outside, expand, stride if i == 0 else 1, fused=stage < 3))
            inside = outside
    layers += [*convolution(inside, 1280, 1), nn.SiLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(1280, N_CLASSES))


NETWORKS = {"resnet50": resnet50, "efficientnetv2b0": efficientnetv2b0}
