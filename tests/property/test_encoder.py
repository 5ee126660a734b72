"""The encoder takes every image it says it takes, and each parameter it does not believe it names."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dynaclr.encoder import BACKBONES, ContrastiveEncoder, ConvNeXt, StackToChannels, _take_first_convolution
from dynaclr.errors import DynaclrError

FLAT: dict[str, Any] = {"in_stack_depth": 1, "stem_kernel_size": (1, 4, 4), "stem_stride": (1, 4, 4)}
WIDTHS = {"convnext_zepto": 256, "convnext_atto": 320, "resnet18": 512}


def _tiny(**changes: Any) -> ContrastiveEncoder:
    options = {"backbone": "convnext_zepto", "embedding_dim": 256, **FLAT, **changes}
    return ContrastiveEncoder(**options)


def _images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(
    channels=st.integers(1, 3),
    depth=st.integers(1, 7),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    out=st.integers(1, 20),
)
def test_stem_folds_any_stack_into_the_channels_asked_for(
    channels: int,
    depth: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    size: tuple[int, int],
    out: int,
) -> None:
    """Whatever depth remains after the convolution, the backbone gets its number of channels."""
    kernel = (min(kernel[0], depth), *kernel[1:])
    stem = StackToChannels(channels, depth, out, kernel, stride)
    folded = stem(_images(2, channels, depth, *size))
    spatial = tuple((n - k) // s + 1 for n, k, s in zip(size, kernel[1:], stride[1:], strict=True))
    assert folded.shape == (2, out, *spatial)


@given(depth=st.integers(1, 6), seed=st.integers(0, 99))
def test_stem_sees_every_slice(depth: int, seed: int) -> None:
    """With a stride of one slice, a change in any slice of the stack changes what comes out."""
    stem = StackToChannels(1, depth, 6, (1, 4, 4), (1, 4, 4))
    image = _images(1, 1, depth, 8, 8, seed=seed)
    before = stem(image)
    for z in range(depth):
        changed = image.clone()
        changed[:, :, z] += 1
        assert not torch.allclose(stem(changed), before)


@given(size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_no_map_shrinks_to_nothing(size: tuple[int, int]) -> None:
    """A ConvNeXt describes maps of any size, down to a single pixel, in finite numbers."""
    torch.manual_seed(0)
    network = ConvNeXt((1, 1, 1, 1), (4, 4, 8, 8))
    features = network(_images(2, 4, *size))
    assert features.shape == (2, 8)
    assert features.isfinite().all()


@pytest.mark.parametrize("backbone", WIDTHS)
@pytest.mark.parametrize("size", [(24, 24), (33, 17)])
def test_every_parameter_receives_a_gradient(backbone: str, size: tuple[int, int]) -> None:
    """Features and projections have their lengths, and the loss reaches each parameter."""
    encoder = _tiny(backbone=backbone, embedding_dim=WIDTHS[backbone], projection_dim=16)
    features, projections = encoder(_images(4, 2, 1, *size))
    assert features.shape == (4, WIDTHS[backbone])
    assert projections.shape == (4, 16)
    projections.square().sum().backward()
    missing = [name for name, value in encoder.named_parameters() if value.grad is None]
    assert missing == []
    assert all(value.grad is not None and value.grad.isfinite().all() for value in encoder.parameters())


def test_shortcuts_pass_gradients() -> None:
    """With the branches of a ResNet silenced, the gradient still reaches the image, past every halving."""
    encoder = _tiny(backbone="resnet18", embedding_dim=512)
    for name, layer in encoder.backbone.named_modules():
        if name.endswith("bn2"):
            nn.init.zeros_(layer.weight)
    images = _images(2, 2, 1, 24, 24).requires_grad_()
    encoder(images)[0].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_stack_of_thirty_slices_passes_the_default_stem() -> None:
    """The default stem, (5, 4, 4), makes six groups of slices out of thirty."""
    encoder = ContrastiveEncoder("convnext_zepto", embedding_dim=256)
    features, projections = encoder(_images(1, 2, 30, 32, 32))
    assert features.shape == (1, 256)
    assert projections.shape == (1, 32)


@pytest.mark.parametrize("training", [False, True])
def test_features_do_not_depend_on_the_rest_of_the_batch(training: bool) -> None:
    """A cell has the same features alone and in company, in training as in evaluation."""
    encoder = _tiny().train(training)
    images = _images(3, 2, 1, 24, 24)
    together = encoder(images)[0]
    alone = torch.cat([encoder(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_paths_are_dropped_in_training_only() -> None:
    """With drop_path_rate, training is random and evaluation is not."""
    torch.manual_seed(0)
    encoder = _tiny(drop_path_rate=0.5)
    for block in encoder.modules():
        if hasattr(block, "scale"):
            nn.init.ones_(block.scale)
    images = _images(4, 2, 1, 24, 24)
    assert not torch.equal(encoder(images)[0], encoder(images)[0])
    encoder.eval()
    assert torch.equal(encoder(images)[0], encoder(images)[0])


def test_published_sizes() -> None:
    """ConvNeXt-T has the 27.8 million parameters of the paper: 28.6 with its classifier, of 0.77 million."""
    network = ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768))
    stem = 96 * 3 * 16 + 96
    assert round((stem + sum(value.numel() for value in network.parameters())) / 1e6, 1) == 27.8


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backbone": "convnext_tny"}, "backbone='convnext_tny' does not exist; did you mean 'convnext_tiny'"),
        pytest.param(
            {"backbone": "timm:convnext_tiny"},
            r"needs the package timm, .* pip install 'dynaclr\[timm\]'",
            marks=pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed"),
        ),
        ({"embedding_dim": 768}, "embedding_dim=768 does not fit backbone='convnext_zepto', .* embedding_dim=256"),
        ({"embedding_dim": 0}, "embedding_dim=0 needs a whole number of at least 1"),
        ({"projection_dim": 1.5}, "projection_dim=1.5 needs a whole number"),
        ({"in_channels": True}, "in_channels=True needs a whole number"),
        ({"in_stack_depth": -1}, "in_stack_depth=-1 needs a whole number"),
        ({"stem_kernel_size": (5, 4, 4)}, r"stem_kernel_size=\(5, 4, 4\) is deeper in z than in_stack_depth=1"),
        ({"stem_kernel_size": (1, 4)}, r"stem_kernel_size=\(1, 4\) needs three positive whole numbers"),
        ({"stem_stride": (1, 0, 4)}, r"stem_stride=\(1, 0, 4\) needs three positive whole numbers"),
        ({"stem_stride": 4}, "stem_stride=4 needs three positive whole numbers"),
        ({"drop_path_rate": "0"}, r"drop_path_rate='0' needs a number in \[0, 1\)"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate=1.0 needs a number in \[0, 1\)"),
        (
            {"backbone": "resnet18", "embedding_dim": 512, "drop_path_rate": 0.1},
            "drop_path_rate=0.1 needs a ConvNeXt: the backbone 'resnet18'",
        ),
    ],
)
def test_impossible_parameters_are_named(changes: dict[str, Any], sentence: str) -> None:
    """Each sentence holds the parameter, what it got and what it needs."""
    with pytest.raises(DynaclrError, match=sentence):
        _tiny(**changes)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 1, 24, 24), r"needs images \(B, 2, 1, Y, X\), got the shape"),
        ((1, 3, 1, 24, 24), "set in_channels=3"),
        ((1, 2, 5, 24, 24), "set in_stack_depth=5"),
        ((1, 2, 1, 3, 24), "3 x 24 pixels are smaller than stem_kernel_size"),
    ],
)
def test_wrong_images_are_named(shape: tuple[int, ...], sentence: str) -> None:
    """Images that do not fit are refused with the setting that would fit them."""
    with pytest.raises(DynaclrError, match=sentence):
        _tiny()(torch.zeros(shape))


def test_slices_that_nobody_sees_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A stride that leaves the last slices out is allowed, but not in silence."""
    with caplog.at_level(logging.WARNING, logger="dynaclr"):
        _tiny(in_stack_depth=7, stem_kernel_size=(5, 4, 4), stem_stride=(5, 4, 4))
    assert "never sees the last 2 of 7 slices" in caplog.text


def test_every_backbone_is_listed_once() -> None:
    """The table of backbones has no doubles, and the smallest is first."""
    assert len(set(BACKBONES)) == len(BACKBONES)
    assert BACKBONES[0] == "convnext_zepto"


class _LikeTimm(nn.Module):
    """A network that describes itself as those of timm do."""

    def __init__(self, first_conv: object) -> None:
        super().__init__()
        self.default_cfg = {"first_conv": first_conv}
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU())


def test_our_stem_replaces_a_timm_networks_first_convolution() -> None:
    """What feeds the network has as many channels as the convolution made."""
    network = _LikeTimm("stem.0")
    assert _take_first_convolution(network, "timm:x") == 12
    assert isinstance(network.stem[0], nn.Identity)


@pytest.mark.parametrize("first_conv", [None, "stem.1", ["stem.0"]])
def test_a_timm_network_without_a_first_convolution_is_refused(first_conv: object) -> None:
    """A network whose beginning we do not understand is an error, not a guess."""
    with pytest.raises(DynaclrError, match="does not begin with one convolution"):
        _take_first_convolution(_LikeTimm(first_conv), "timm:x")
