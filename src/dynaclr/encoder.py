"""Encoders: a stem that folds a Z stack into channels, a 2D backbone, and a projection head for the loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from monai.networks.layers.drop_path import DropPath
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from dynaclr.checks import is_number, is_whole, whole
from dynaclr.errors import DynaclrError, did_you_mean

__all__ = ["BACKBONES", "ContrastiveEncoder", "ConvNeXt", "StackToChannels"]

_log = logging.getLogger(__name__)


class _ConvNeXtSize(NamedTuple):
    """How many blocks each of the four stages has, and how many channels."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


# Tiny to large: Liu et al., A ConvNet for the 2020s, CVPR 2022, section 3. Atto to nano: Woo et al., ConvNeXt V2,
# CVPR 2023, appendix A. Zepto continues the series downward, for demonstrations and for laptops.
_CONVNEXTS = {
    "convnext_zepto": _ConvNeXtSize((2, 2, 4, 2), (32, 64, 128, 256)),
    "convnext_atto": _ConvNeXtSize((2, 2, 6, 2), (40, 80, 160, 320)),
    "convnext_femto": _ConvNeXtSize((2, 2, 6, 2), (48, 96, 192, 384)),
    "convnext_pico": _ConvNeXtSize((2, 2, 6, 2), (64, 128, 256, 512)),
    "convnext_nano": _ConvNeXtSize((2, 2, 8, 2), (80, 160, 320, 640)),
    "convnext_tiny": _ConvNeXtSize((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": _ConvNeXtSize((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": _ConvNeXtSize((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": _ConvNeXtSize((3, 3, 27, 3), (192, 384, 768, 1536)),
}

# He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1.
_RESNETS: dict[str, tuple[str, list[int]]] = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
}
_RESNET_WIDTHS = [64, 128, 256, 512]

BACKBONES: tuple[str, ...] = (*_CONVNEXTS, *_RESNETS)
"""The backbones that need nothing else installed, from small to large."""

_TIMM_PREFIX = "timm:"


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel's channels."""
        out: Tensor = super().forward(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7 convolution, then two pointwise layers, added to the input under a learned scale."""

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pointwise = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 1e-6))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        y = self.norm(self.spatial(x).permute(0, 2, 3, 1))
        y = (self.scale * self.pointwise(y)).permute(0, 3, 1, 2)
        dropped: Tensor = self.drop_path(y)
        return x + dropped


class _Halve(nn.Sequential):
    """Halve height and width, rounding up, so that no map ever shrinks to nothing."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__(_ChannelNorm(width, eps=1e-6), nn.Conv2d(width, out_width, kernel_size=2, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """Pad an odd border by one pixel; even maps are those of the paper."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            x = nn.functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        out: Tensor = self[1](self[0](x))
        return out


class ConvNeXt(nn.Module):
    """A ConvNeXt without its first convolution: feature maps in, one vector per image out.

    Parameters
    ----------
    depths
        Blocks of each of the four stages.
    widths
        Channels of each stage; the first is the number of channels that come in, the last the size of the vector.
    drop_path_rate
        Probability to skip the last block of the network in training; the blocks before it rise to it linearly.

    References
    ----------
    Liu et al., *A ConvNet for the 2020s*, CVPR 2022. Stochastic depth: Huang et al., ECCV 2016.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], drop_path_rate: float = 0.0) -> None:
        super().__init__()
        last = max(sum(depths) - 1, 1)
        layers: list[nn.Module] = [_ChannelNorm(widths[0], eps=1e-6)]
        number = 0
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage > 0:
                layers.append(_Halve(widths[stage - 1], width))
            for _ in range(depth):
                layers.append(_ConvNeXtBlock(width, drop_path_rate * number / last))
                number += 1
        self.stages = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, widths[0], H, W)`` to ``(B, widths[-1])``."""
        out: Tensor = self.norm(self.stages(x).mean(dim=(-2, -1)))
        return out


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class StackToChannels(nn.Module):
    """The stem: one 3D convolution whose depth is folded into channels, so that a 2D backbone can go on.

    Parameters
    ----------
    in_channels, in_stack_depth
        Channels and slices of the images.
    out_channels
        Channels that the backbone expects. Where the folded depth does not divide it, a pointwise convolution
        makes up the difference.
    kernel_size, stride
        Of the 3D convolution, each as ``(z, y, x)``.
    """

    def __init__(
        self,
        in_channels: int,
        in_stack_depth: int,
        out_channels: int,
        kernel_size: tuple[int, int, int],
        stride: tuple[int, int, int],
    ) -> None:
        super().__init__()
        depth = (in_stack_depth - kernel_size[0]) // stride[0] + 1
        per_slice = max(out_channels // depth, 1)
        self.conv = nn.Conv3d(in_channels, per_slice, kernel_size=kernel_size, stride=stride)
        folded = per_slice * depth
        self.match: nn.Module = nn.Identity() if folded == out_channels else nn.Conv2d(folded, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, Z, Y, X)`` to ``(B, out_channels, Y', X')``."""
        out: Tensor = self.match(self.conv(x).flatten(1, 2))
        return out


class _Backbone(NamedTuple):
    """A network without its first layer, the channels it takes and the length of the vector it returns."""

    network: nn.Module
    in_channels: int
    features: int


def _build_backbone(name: str, drop_path_rate: float) -> _Backbone:
    if name in _CONVNEXTS:
        size = _CONVNEXTS[name]
        return _Backbone(ConvNeXt(*size, drop_path_rate), size.widths[0], size.widths[-1])
    if name in _RESNETS:
        return _build_resnet(name, drop_path_rate)
    if name.startswith(_TIMM_PREFIX):
        return _build_timm(name, drop_path_rate)
    raise DynaclrError(
        f"backbone={name!r} does not exist{did_you_mean(name, BACKBONES)}; the backbones are {', '.join(BACKBONES)}, "
        "or 'timm:<name>' for a network of timm"
    )


def _build_resnet(name: str, drop_path_rate: float) -> _Backbone:
    if drop_path_rate:
        raise DynaclrError(
            f"drop_path_rate={drop_path_rate!r} needs a ConvNeXt: the backbone {name!r} has no paths to drop, "
            "so drop_path_rate must be 0.0"
        )
    block, layers = _RESNETS[name]
    # MONAI's shortcut "A" passes no gradient, hence "B"; our stem stands for the strided convolution and the pooling.
    network = ResNet(
        block,
        layers,
        _RESNET_WIDTHS,
        spatial_dims=2,
        n_input_channels=_RESNET_WIDTHS[0],
        conv1_t_size=3,
        no_max_pool=True,
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    )
    return _Backbone(network, _RESNET_WIDTHS[0], _RESNET_WIDTHS[-1] * (4 if block == "bottleneck" else 1))


def _build_timm(name: str, drop_path_rate: float) -> _Backbone:
    try:
        import timm
    except ImportError as error:
        raise DynaclrError(
            f"backbone={name!r} needs the package timm, which is not installed: pip install 'dynaclr[timm]'"
        ) from error
    model_name = name.removeprefix(_TIMM_PREFIX)
    if not timm.is_model(model_name):
        raise DynaclrError(
            f"backbone={name!r}: timm has no network {model_name!r}{did_you_mean(model_name, timm.list_models())}"
        )
    options = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
    network = timm.create_model(model_name, pretrained=False, num_classes=0, **options)
    return _Backbone(network, _take_first_convolution(network, name), int(network.num_features))


def _take_first_convolution(network: Any, name: str) -> int:
    """Replace a timm network's first convolution by nothing, since our stem takes its place; return its width."""
    path = network.default_cfg.get("first_conv")
    first = network.get_submodule(path) if isinstance(path, str) else None
    if not isinstance(first, nn.Conv2d):
        raise DynaclrError(
            f"backbone={name!r} does not begin with one convolution, which the stem could replace; "
            "take a convolutional network such as 'timm:convnext_tiny'"
        )
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return first.out_channels


class ContrastiveEncoder(nn.Module):
    """Turn crops of cells into features, which describe the cell, and projections, which the loss compares.

    A 3D convolution reduces the stack, its remaining slices become channels, a 2D backbone pools them into one
    vector of features, and a small perceptron projects these (Chen et al., *SimCLR*, ICML 2020, section 2.1).
    Nothing in a ConvNeXt or in the head depends on the other cells of the batch: a cell has the same features in any
    company, and a batch of one trains as well.

    Parameters
    ----------
    backbone
        One of `BACKBONES`, or ``"timm:<name>"`` with the extra ``dynaclr[timm]``.
    in_channels
        Channels of the images.
    in_stack_depth
        Z slices of the images; 1 for two-dimensional ones, together with a stem of depth 1.
    stem_kernel_size, stem_stride
        Of the first convolution, as ``(z, y, x)``.
    embedding_dim
        Length of the features: that of the backbone, so this states it for who reads the configuration.
    projection_dim
        Length of the projections.
    drop_path_rate
        Stochastic depth of a ConvNeXt, in ``[0, 1)``.

    Raises
    ------
    DynaclrError
        If a value is impossible, or does not fit the others.
    """

    def __init__(
        self,
        backbone: str = "convnext_tiny",
        in_channels: int = 2,
        in_stack_depth: int = 30,
        stem_kernel_size: tuple[int, int, int] = (5, 4, 4),
        stem_stride: tuple[int, int, int] = (5, 4, 4),
        embedding_dim: int = 768,
        projection_dim: int = 32,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check = partial(whole, at_least=1)
        self.in_channels = check("in_channels", in_channels)
        self.in_stack_depth = check("in_stack_depth", in_stack_depth)
        self.stem_kernel_size = _check_triple("stem_kernel_size", stem_kernel_size)
        self.stem_stride = _check_triple("stem_stride", stem_stride)
        self.embedding_dim = check("embedding_dim", embedding_dim)
        self.projection_dim = check("projection_dim", projection_dim)
        _check_depth(self.in_stack_depth, self.stem_kernel_size, self.stem_stride[0])
        if not is_number(drop_path_rate) or not 0 <= drop_path_rate < 1:
            raise DynaclrError(f"drop_path_rate={drop_path_rate!r} needs a number in [0, 1)")
        network, width, features = _build_backbone(backbone, drop_path_rate)
        if self.embedding_dim != features:
            raise DynaclrError(
                f"embedding_dim={embedding_dim!r} does not fit backbone={backbone!r}, whose features have length "
                f"{features}: write embedding_dim={features}"
            )
        self.stem = StackToChannels(in_channels, in_stack_depth, width, self.stem_kernel_size, self.stem_stride)
        self.backbone = network
        self.projection = nn.Sequential(
            nn.Linear(features, features), nn.LayerNorm(features), nn.ReLU(), nn.Linear(features, projection_dim)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of crops.

        Parameters
        ----------
        x
            Images ``(B, in_channels, in_stack_depth, Y, X)``.

        Returns
        -------
        features, projections
            Tensors ``(B, embedding_dim)`` and ``(B, projection_dim)``.

        Raises
        ------
        DynaclrError
            If the images have other channels or slices, or are smaller than the stem's kernel.
        """
        self.check_shape(tuple(x.shape))
        features: Tensor = self.backbone(self.stem(x))
        return features, self.projection(features)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse images that cannot be encoded.

        Parameters
        ----------
        shape
            Of a batch: samples, channels, slices, height and width in pixels.

        Raises
        ------
        DynaclrError
            As for `forward`.
        """
        expected = f"(B, {self.in_channels}, {self.in_stack_depth}, Y, X)"
        if len(shape) != 5:
            raise DynaclrError(f"the encoder needs images {expected}, got the shape {shape}")
        for axis, name, value in ((1, "in_channels", self.in_channels), (2, "in_stack_depth", self.in_stack_depth)):
            if shape[axis] != value:
                raise DynaclrError(
                    f"the encoder needs images {expected}, got {shape}: set {name}={shape[axis]}, or change the data"
                )
        kernel = self.stem_kernel_size[1:]
        if shape[3] < kernel[0] or shape[4] < kernel[1]:
            raise DynaclrError(
                f"images of {shape[3]} x {shape[4]} pixels are smaller than stem_kernel_size={self.stem_kernel_size}"
            )


def _check_triple(name: str, value: Sequence[int]) -> tuple[int, int, int]:
    positive = isinstance(value, (list, tuple)) and all(is_whole(item) and item >= 1 for item in value)
    if not positive or len(value) != 3:
        raise DynaclrError(f"{name}={value!r} needs three positive whole numbers (z, y, x)")
    z, y, x = value
    return z, y, x


def _check_depth(depth: int, kernel: tuple[int, int, int], stride: int) -> None:
    if kernel[0] > depth:
        raise DynaclrError(
            f"stem_kernel_size={kernel} is deeper in z than in_stack_depth={depth}: it needs at most "
            f"{(depth, *kernel[1:])}, and a stem_stride to match"
        )
    unseen = (depth - kernel[0]) % stride
    if unseen:
        _log.warning(
            "The encoder never sees the last %d of %d slices: in_stack_depth - stem_kernel_size in z (%d - %d) "
            "is no multiple of stem_stride in z (%d).",
            unseen,
            depth,
            depth,
            kernel[0],
            stride,
        )
