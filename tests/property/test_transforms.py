"""Transforms of batches against MONAI's of single samples and SciPy's, and what all of them refuse."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import AdjustContrast, GaussianSmooth, ScaleIntensityRangePercentiles
from monai.transforms.utils import create_rotate, create_scale, create_shear, create_translate
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from dynaclr import transforms
from dynaclr.errors import DynaclrError
from dynaclr.transforms import (
    NormalizeSampled,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    ScaleIntensityRangePercentilesd,
    spatial,
)
from dynaclr.transforms.base import RandBatchTransform
from dynaclr.transforms.spatial import affine_matrices, factors_of

Maker = Callable[..., RandBatchTransform]

AFFINE: dict[str, Any] = {
    "rotate_range": [3.14, 0.5, 0.5],
    "shear_range": [0, 0.1, 0.1, 0.1],
    "translate_range": [0.5, 2, 2],
}
RANDOM: dict[str, Maker] = {
    "affine": lambda keys, **kwargs: RandAffined(keys, scale_range=[0, (-0.2, 0.2), 0.2], **AFFINE, **kwargs),
    "flat affine": lambda keys, **kwargs: RandAffined(keys, rotate_range=math.pi, mode="nearest", **kwargs),
    "contrast": lambda keys, **kwargs: RandAdjustContrastd(keys, gamma=(0.5, 0.9), **kwargs),
    "scale": lambda keys, **kwargs: RandScaleIntensityd(keys, factors=0.5, **kwargs),
    "smooth": lambda keys, **kwargs: RandGaussianSmoothd(keys, sigma_z=(0, 0), **kwargs),
    "noise": lambda keys, **kwargs: RandGaussianNoised(keys, std=0.2, **kwargs),
}

every_random_transform = pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
every_depth = pytest.mark.parametrize("depth", [1, 5])


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator of one's own."""
    return torch.Generator().manual_seed(seed)


def noisy(*shape: int, seed: int = 0) -> Tensor:
    """Return a random float32 tensor in [0, 1)."""
    return torch.rand(shape, generator=seeded(seed))


def same_samples(count: int, depth: int) -> dict[str, Tensor]:
    """Return a batch whose samples and channels are all the same."""
    sample = noisy(1, 1, depth, 9, 11)
    return {"ch_0": sample.repeat(count, 1, 1, 1, 1), "ch_1": sample.repeat(count, 1, 1, 1, 1)}


def changed(before: Tensor, after: Tensor) -> list[bool]:
    """Return for each sample whether it changed."""
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


def index_matrix(matrix: Tensor, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return a matrix about the centre as one for indices, as SciPy wants it."""
    center = (np.array(shape) - 1) / 2
    linear = matrix[:3, :3].numpy()
    full = np.eye(4)
    full[:3, :3] = linear
    full[:3, 3] = matrix[:3, 3].numpy() + center - linear @ center
    return full


parameters = st.fixed_dictionaries(
    {
        "rotate_range": st.lists(st.floats(-3, 3), min_size=3, max_size=3),
        "shear_range": st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6),
        "translate_range": st.lists(st.floats(-2, 2), min_size=3, max_size=3),
        "scale_range": st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3),
    }
)


def fixed(values: dict[str, list[float]], **kwargs: Any) -> RandAffined:
    """Return the affine transform whose draws are exactly these values."""
    ranges: dict[str, Any] = {name: [(value, value) for value in row] for name, row in values.items()}
    return RandAffined(["ch_0"], prob=1.0, **ranges, **kwargs)


@given(parameters, st.integers(2, 4), st.booleans())
def test_affine_is_scipys(values: dict[str, list[float]], depth: int, in_plane: bool) -> None:
    """Each voxel is what SciPy finds where the matrix points, in three dimensions and plane by plane."""
    if in_plane:
        values = flattened(values)
    volume = noisy(1, 1, depth, 7, 6)
    after = fixed(values, padding_mode="zeros")({"ch_0": volume})["ch_0"]
    names = ("rotate_range", "shear_range", "translate_range", "scale_range")
    matrix = affine_matrices(torch.tensor([[value for name in names for value in values[name]]]))[0]
    indices = index_matrix(matrix, tuple(volume.shape[2:]))
    expected = ndimage.affine_transform(volume[0, 0].double().numpy(), indices, order=1, mode="grid-constant")
    np.testing.assert_allclose(after[0, 0].numpy(), expected, atol=2e-4)


def flattened(values: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return the parameters without those that leave the plane."""
    kept = {"rotate_range": [1, 0, 0], "shear_range": [0, 0, 0, 1, 0, 1], "translate_range": [0, 1, 1]}
    kept["scale_range"] = [0, 1, 1]
    return {name: [v * k for v, k in zip(row, kept[name], strict=True)] for name, row in values.items()}


@given(parameters)
def test_a_single_plane_stays_a_plane(values: dict[str, list[float]]) -> None:
    """At Z = 1 what would leave the plane is ignored, and the rest does what it does to a plane of a stack."""
    plane = noisy(1, 1, 1, 7, 6)
    after = fixed(values)({"ch_0": plane})["ch_0"]
    assert torch.equal(after, fixed(flattened(values))({"ch_0": plane})["ch_0"])
    stack = fixed(flattened(values))({"ch_0": plane.repeat(1, 1, 3, 1, 1)})["ch_0"]
    torch.testing.assert_close(stack, after.repeat(1, 1, 3, 1, 1), atol=1e-5, rtol=1e-5)


@every_depth
def test_a_quarter_turn_is_exact(depth: int) -> None:
    """Rotating a square by 90 degrees about Z moves pixels and does not blur them."""
    volume = noisy(2, 1, depth, 8, 8)
    turn = RandAffined(["ch_0"], prob=1.0, rotate_range=[(math.pi / 2, math.pi / 2)])
    after = turn({"ch_0": volume})["ch_0"]
    torch.testing.assert_close(after, torch.rot90(volume, -1, (3, 4)), atol=1e-5, rtol=0)


def test_positive_translation_looks_ahead() -> None:
    """A whole number of voxels is moved exactly; beyond the border the volume repeats, or is zero."""
    volume = torch.arange(4.0).expand(1, 1, 2, 3, 4)
    shift: dict[str, Any] = {"prob": 1.0, "translate_range": [0, 0, (1, 1)]}
    rows = {
        mode: RandAffined(["ch_0"], padding_mode=mode, **shift)({"ch_0": volume})["ch_0"][0, 0, 0, 0]
        for mode in ("border", "zeros", "reflection")
    }
    for mode, end in (("border", 3.0), ("zeros", 0.0), ("reflection", 3.0)):
        torch.testing.assert_close(rows[mode], torch.tensor([1.0, 2.0, 3.0, end]), msg=mode)


@given(parameters, st.integers(0, 5))
def test_matrices_are_monais(values: dict[str, list[float]], sheared: int) -> None:
    """Rotation, shear, translation and scale are composed as MONAI composes them."""
    shears = [v if i == sheared else 0.0 for i, v in enumerate(values["shear_range"])]  # MONAI 1.5 adds up several
    rotate, translate, scale = values["rotate_range"], values["translate_range"], values["scale_range"]
    expected = create_rotate(3, rotate) @ create_shear(3, shears) @ create_translate(3, translate)
    expected = expected @ create_scale(3, [1 + v for v in scale])
    seen = affine_matrices(torch.tensor([[*rotate, *shears, *translate, *scale]], dtype=torch.float64))[0]
    np.testing.assert_allclose(seen.numpy(), np.asarray(expected), atol=1e-9)


@given(st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6))
def test_shears_follow_each_other(shears: list[float]) -> None:
    """Several shears are one after the other, the first of them nearest to the voxel."""
    alone = [torch.zeros(1, 15, dtype=torch.float64) for _ in shears]
    for i, factor in enumerate(shears):
        alone[i][0, 3 + i] = factor
    expected = functools.reduce(torch.matmul, [affine_matrices(one)[0] for one in reversed(alone)])
    np.testing.assert_allclose(affine_matrices(torch.stack(alone).sum(0))[0].numpy(), expected.numpy(), atol=1e-12)


@given(st.lists(st.sampled_from([(0.0, 0.0), (-0.3, 0.4), (0.2, 0.2)]), min_size=15, max_size=15), st.integers(1, 3))
def test_what_cannot_move_is_not_multiplied(ranges: list[tuple[float, float]], samples: int) -> None:
    """To the last bit: the factors that are left out are the identity."""
    low, high = torch.tensor(ranges).unbind(1)
    parameters = low + (high - low) * torch.rand(samples, 15, generator=seeded())
    few = factors_of((low != 0) | (high != 0))
    assert torch.equal(affine_matrices(parameters, few), affine_matrices(parameters))
    assert few.shape[1] <= max(1, 15 - ranges.count((0.0, 0.0)))


def test_channels_of_any_kind_are_moved_alike() -> None:
    """Channels that differ in planes or dtype move as each would alone with the same draws."""
    batch = {
        "ch_0": noisy(4, 1, 3, 9, 11),
        "ch_1": noisy(4, 2, 3, 9, 11, seed=1),
        "ch_2": noisy(4, 1, 1, 9, 11, seed=2),
    }
    batch["ch_3"] = noisy(4, 1, 3, 9, 11, seed=3).double()
    together = RandAffined(list(batch), prob=0.5, rotate_range=math.pi, generator=seeded(1))(batch)
    for key, volume in batch.items():
        alone = RandAffined([key], prob=0.5, rotate_range=math.pi, generator=seeded(1))({key: volume})[key]
        assert torch.equal(together[key], alone)
        assert together[key].dtype == volume.dtype
        assert any(changed(volume, alone))


def test_affine_parameters_fill_their_ranges() -> None:
    """Pairs are ranges, numbers stand for both signs, and each axis has its own."""
    affine = RandAffined(["a"], rotate_range=0.5, translate_range=[(1, 2), 3], scale_range=[0, (0.1, 0.2), -0.3])
    expected = [(-0.5, 0.5), (0, 0), (0, 0), *[(0, 0)] * 6, (1, 2), (-3, 3), (0, 0), (0, 0), (0.1, 0.2), (-0.3, 0.3)]
    torch.testing.assert_close(affine.ranges, torch.tensor(expected))


GOOD = {"mean": 1.0, "std": 2.0}


@pytest.mark.parametrize(
    ("norm_meta", "sentence"),
    [
        (None, "'norm_meta' of the batch must be a list of 2 entries, but is None"),
        ([{}], "'norm_meta' of the batch must be a list of 2 entries, but is 1 entries"),
        ([{"ch_0": {"fov_statistics": GOOD}}, None], "sample 1 has no fov_statistics 'mean' of 'ch_0'"),
        ([{"ch_1": {"fov_statistics": GOOD}}] * 2, "sample 0 has no fov_statistics 'mean' of 'ch_0'"),
        ([{"ch_0": {"dataset_statistics": GOOD}}] * 2, "sample 0 has no fov_statistics 'mean' of 'ch_0'"),
        ([{"ch_0": {"fov_statistics": {"mean": 1.0}}}] * 2, "sample 0 has no fov_statistics 'std'"),
        (
            [{"ch_0": {"fov_statistics": GOOD}}, {"ch_0": {"fov_statistics": {**GOOD, "std": -0.1}}}],
            "sample 1 has fov_statistics std=-0.1 of 'ch_0', but",
        ),
        (
            [{"ch_0": {"fov_statistics": GOOD}}, {"ch_0": {"fov_statistics": {**GOOD, "std": None}}}],
            "sample 1 has fov_statistics std=None of 'ch_0', which is not finite",
        ),
        (
            [{"ch_0": {"fov_statistics": {**GOOD, "std": 0.0}}}] * 2,
            "sample 0 has fov_statistics std=0.0 of 'ch_0', but",
        ),
        ([{"ch_0": {"fov_statistics": {**GOOD, "mean": math.nan}}}] * 2, "mean=nan of 'ch_0', which is not finite"),
    ],
)
def test_statistics_that_cannot_be_used_are_errors(norm_meta: Any, sentence: str) -> None:
    """Missing, infinite or zero statistics are named with key and sample, and never become NaN."""
    with pytest.raises(DynaclrError, match=sentence):
        NormalizeSampled(["ch_0"])({"ch_0": torch.ones(2, 1, 1, 2, 2), "norm_meta": norm_meta})


@given(
    st.sampled_from([(0, 100), (1, 99), (50, 99.9)]),
    st.sampled_from([(0.0, 1.0), (-1.0, 3.0)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 65535.0, 1e30]),
)
def test_percentiles_are_monais(
    percentiles: tuple[float, float], target: tuple[float, float], clip: bool, relative: bool, scale: float
) -> None:
    """Each sample and channel is scaled as MONAI scales a single one."""
    volume = noisy(2, 2, 2, 5, 5) * scale
    after = ScaleIntensityRangePercentilesd(["ch_0"], *percentiles, *target, clip, relative)({"ch_0": volume})["ch_0"]
    monai = ScaleIntensityRangePercentiles(*percentiles, *target, clip=clip, relative=relative)
    for i in range(2):
        for c in range(2):
            expected = torch.as_tensor(monai(volume[i, c]))
            torch.testing.assert_close(after[i, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [True, False])
def test_constant_images_are_shifted_to_the_lower_bound(clip: bool) -> None:
    """A constant channel becomes `b_min`, one with a single bright voxel stays finite, others are not affected."""
    volume = torch.full((3, 1, 1, 20, 20), 7.0)
    volume[1, 0, 0, 0, 0] = 1e6
    volume[2] = noisy(1, 1, 20, 20)
    before = volume.clone()
    scale = ScaleIntensityRangePercentilesd("ch_0", 1, 99, b_min=-1, b_max=1, clip=clip)
    after = scale({"ch_0": volume})["ch_0"]
    assert torch.equal(volume, before)
    assert torch.equal(after[0], torch.full_like(after[0], -1))
    assert torch.isfinite(after).all()
    assert after[1].max() == (1 if clip else 1e6 - 8)
    assert after[2].quantile(0.5) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.5])
def test_contrast_is_monais(gamma: float) -> None:
    """Each sample is adjusted as MONAI adjusts a single one, within its own range."""
    volume = noisy(3, 1, 2, 6, 6) * torch.tensor([1.0, 300, 6e4]).reshape(3, 1, 1, 1, 1) - 0.3
    after = RandAdjustContrastd(["ch_0"], prob=1.0, gamma=(gamma, gamma))({"ch_0": volume})["ch_0"]
    for i in range(3):
        expected = torch.as_tensor(AdjustContrast(gamma)(volume[i]))
        torch.testing.assert_close(after[i], expected, rtol=1e-4, atol=1e-4)


def test_factors_are_added_to_one() -> None:
    """A factor of 0.5 makes half as much again; a number stands for both signs."""
    volume = noisy(2, 1, 2, 3, 3)
    after = RandScaleIntensityd(["ch_0"], prob=1.0, factors=(0.5, 0.5))({"ch_0": volume})["ch_0"]
    torch.testing.assert_close(after, volume * 1.5)
    assert RandScaleIntensityd(["ch_0"], factors=0.2).factors == (-0.2, 0.2)


@pytest.mark.parametrize("sigma", [(0.0, 0.0, 0.8), (0.0, 1.1, 0.0), (0.7, 0.0, 0.0), (0.5, 0.9, 1.3)])
def test_smoothing_is_monais_inside(sigma: tuple[float, float, float]) -> None:
    """Away from the border each axis is smoothed as MONAI does it, and `sigma_z` is the one along Z."""
    volume = noisy(2, 1, 15, 16, 17)
    z, y, x = ((s, s) for s in sigma)
    smooth = RandGaussianSmoothd(["ch_0"], prob=1.0, sigma_x=x, sigma_y=y, sigma_z=z)
    after = smooth({"ch_0": volume})["ch_0"]
    expected = torch.as_tensor(GaussianSmooth(sigma, approx="erf")(volume[1]))
    inside = (slice(None), *[slice(6, -6)] * 3)
    torch.testing.assert_close(after[1][inside], expected[inside], rtol=1e-3, atol=1e-3)


@given(st.integers(1, 4), st.floats(0, 3))
def test_smoothing_keeps_constants_and_flat_axes(depth: int, sigma: float) -> None:
    """A constant image stays constant up to its border, a single plane is not smoothed along Z, 0 is no smoothing."""
    constant = torch.full((2, 1, depth, 4, 4), 100.0)
    wide = RandGaussianSmoothd(["ch_0"], prob=1.0, sigma_x=(0, sigma), sigma_y=(0, sigma), sigma_z=(0, sigma))
    torch.testing.assert_close(wide({"ch_0": constant})["ch_0"], constant)
    plane = noisy(2, 1, 1, 4, 4)
    along_z = RandGaussianSmoothd(["ch_0"], prob=1.0, sigma_x=(0, 0), sigma_y=(0, 0), sigma_z=(0, sigma))
    assert torch.equal(along_z({"ch_0": plane})["ch_0"], plane)


@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize("prob", [0.5, 1.0])
def test_noise_is_added_to_the_image(mean: float, prob: float) -> None:
    """The same noise as on nothing, in every channel another."""
    volume = noisy(20, 2, 2, 5, 5)
    alone, added = (
        RandGaussianNoised(["ch_0"], prob=prob, mean=mean, std=0.5, generator=seeded(1))({"ch_0": image})["ch_0"]
        for image in (torch.zeros_like(volume), volume)
    )
    torch.testing.assert_close(added, volume + alone)
    assert not torch.equal(alone[:, 0], alone[:, 1])


def test_affine_parameters_are_drawn_from_all_of_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself. By chance a hundredth at one of the 30 ends stays empty once in 10**12 times."""
    drawn: list[Tensor] = []
    matrices: Callable[..., Tensor] = spatial.affine_matrices

    def watched(parameters: Tensor, basis: Tensor) -> Tensor:
        drawn.append(parameters)
        return matrices(parameters, basis)

    monkeypatch.setattr(spatial, "affine_matrices", watched)
    ranges: list[Any] = [[1.0] * 3, [(0.1, 0.4)] * 6, [2.0] * 3, [0.3] * 3]
    RandAffined(["ch_0"], 1.0, *ranges, generator=seeded())({"ch_0": torch.zeros(3000, 1, 2, 1, 1)})
    low, high = torch.tensor([*[(-1.0, 1.0)] * 3, *[(0.1, 0.4)] * 6, *[(-2.0, 2.0)] * 3, *[(-0.3, 0.3)] * 3]).unbind(1)
    shares = (drawn[0] - low) / (high - low)
    assert shares.min() > -1e-6
    assert shares.max() < 1 + 1e-6
    assert (shares.amin(0) < 0.01).all()
    assert (shares.amax(0) > 0.99).all()
    assert torch.corrcoef(shares.T).fill_diagonal_(0).abs().max() < 0.2  # 11 standard deviations


def test_the_default_dtype_may_change_between_making_and_using() -> None:
    """Lightning's precisions set it while a model is made."""
    affine, batch = RandAffined(["ch_0"], prob=1.0, rotate_range=1.0), {"ch_0": noisy(2, 1, 1, 5, 5)}
    torch.set_default_dtype(torch.float64)
    try:
        turned = affine(batch)["ch_0"]
    finally:
        torch.set_default_dtype(torch.float32)
    assert turned.dtype == torch.float32


def test_a_divisor_is_compared_as_it_divides() -> None:
    """One that half precision rounds to zero would make infinities."""
    norm_meta = [{"ch_0": {"fov_statistics": {"mean": 0.0, "std": std}}} for std in (1.0, 1e-9)]
    batch = {"ch_0": torch.ones(2, 1, 1, 2, 2, dtype=torch.float16), "norm_meta": norm_meta}
    with pytest.raises(DynaclrError, match=r"sample 1 has fov_statistics std=1e-09 .* above 0 in torch.float16"):
        NormalizeSampled(["ch_0"])(batch)


def test_noise_has_its_moments() -> None:
    """Noise has the mean and the standard deviation asked for, or one of its own per sample below it."""
    volume = torch.zeros(40, 1, 4, 32, 32)
    plain: dict[str, Any] = {"prob": 1.0, "mean": 3.0, "std": 0.5, "generator": seeded(9)}
    noise = RandGaussianNoised(["ch_0"], sample_std=False, **plain)({"ch_0": volume})["ch_0"]
    assert noise.mean().item() == pytest.approx(3, abs=0.01)
    assert noise.std().item() == pytest.approx(0.5, abs=0.01)
    spread = RandGaussianNoised(["ch_0"], **plain)({"ch_0": volume})["ch_0"].std((1, 2, 3, 4))
    assert spread.max() < 0.52
    assert spread.min() < 0.1
    assert spread.mean().item() == pytest.approx(0.25, abs=0.1)


@given(st.booleans(), st.integers(0, 2**32 - 1))
def test_noise_of_all_planes_is_independent(sample_std: bool, seed: int) -> None:
    """Of samples, channels and slices alike: two planes of 2048 voxels correlate by 8 / sqrt(2048) once in 1e15."""
    batch = {name: torch.zeros(3, 1, 4, 32, 64) for name in ("ch_0", "ch_1")}
    noise = RandGaussianNoised(["ch_0", "ch_1"], prob=1.0, std=1.0, sample_std=sample_std, generator=seeded(seed))
    after = noise(batch)
    planes = torch.cat([after[name].flatten(0, 2) for name in batch]).flatten(1)
    correlated = torch.corrcoef(planes).fill_diagonal_(0).abs()
    assert correlated.max() < 8 / 2048**0.5


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers(kind: type) -> None:
    """What is given as NumPy's numbers, one or in pairs, does what Python's do."""

    def chain(number: Callable[[float], Any]) -> list[Callable[[dict[str, Any]], dict[str, Any]]]:
        one, half = number(1), number(0.5)
        return [
            ScaleIntensityRangePercentilesd("ch_0", one, number(99), number(0), one),
            RandAffined("ch_0", one, half, [half], [(half, one)], [half]),
            RandAdjustContrastd("ch_0", one, number(2)),
            RandAdjustContrastd("ch_0", half, (half, one)),
            RandScaleIntensityd("ch_0", one, half),
            RandGaussianSmoothd("ch_0", one, (half, one), (half, one), (half, one)),
            RandGaussianNoised("ch_0", one, half, one),
        ]

    results = []
    for number in (float, kind):
        torch.manual_seed(0)
        batch: dict[str, Any] = {"ch_0": noisy(3, 1, 3, 6, 6)}
        for step in chain(number):
            batch = step(batch)
        results.append(batch["ch_0"])
    assert results[1].dtype == torch.float32
    torch.testing.assert_close(results[0], results[1])


def test_config_files_make_them() -> None:
    """Class paths and MONAI's argument names are enough to make a chain that MONAI's `Compose` runs."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("NormalizeSampled", {"level": "dataset_statistics", "subtrahend": "median", "divisor": "iqr"}),
        ("ScaleIntensityRangePercentilesd", {"lower": 1, "upper": 99, "b_min": 0.0, "b_max": 1.0, "clip": True}),
        ("RandAffined", {"prob": 1.0, "rotate_range": [3.14, 0, 0], "scale_range": [0, [-0.2, 0.3], 0.2]}),
        ("RandAdjustContrastd", {"prob": 1.0, "gamma": [0.8, 1.2]}),
        ("RandScaleIntensityd", {"prob": 1.0, "factors": 0.5}),
        ("RandGaussianSmoothd", {"prob": 1.0, "sigma_x": [0.25, 0.75], "sigma_y": [0.25, 0.75], "sigma_z": [0, 0]}),
        ("RandGaussianNoised", {"prob": 1.0, "mean": 0.0, "std": 0.2}),
    ]
    assert {name for name, _ in steps} == set(transforms.__all__)
    parser = ArgumentParser()
    parser.add_argument("--steps", type=list[Callable[[dict[str, Any]], dict[str, Any]]])
    config = [
        {"class_path": f"dynaclr.transforms.{name}", "init_args": {"keys": ["ch_0", "ch_1"], **arguments}}
        for name, arguments in steps
    ]
    made = parser.instantiate(parser.parse_object({"steps": config})).steps
    assert [type(step).__name__ for step in made] == [name for name, _ in steps]
    assert made[2].ranges[-3:].flatten().tolist() == pytest.approx([0, 0, -0.2, 0.3, -0.2, 0.2])
    statistics = {"dataset_statistics": {"median": 0.5, "iqr": 0.5}}
    meta = [dict.fromkeys(("ch_0", "ch_1"), statistics)] * 4
    batch: dict[str, Any] = {**same_samples(4, 3), "norm_meta": meta}
    after = Compose(made)(batch)
    assert all(changed(batch["ch_0"], after["ch_0"]))
    assert after["norm_meta"] is meta


ones = torch.ones(2, 1, 1, 3, 3)


@every_random_transform
@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ({"ch_0": ones, "ch_2": ones}, r"the batch has no 'ch_1', only \['ch_0', 'ch_2'\]; did you mean 'ch_2'\?"),
        ({"ch_0": ones, "ch_1": ones[0]}, r"'ch_1' holds torch.float32 \(1, 1, 3, 3\), but must hold a float tensor"),
        ({"ch_0": ones, "ch_1": ones.int()}, r"'ch_1' holds torch.int32 \(2, 1, 1, 3, 3\), but must hold"),
        ({"ch_0": ones, "ch_1": [1]}, r"'ch_1' holds list, but must hold"),
        ({"ch_0": ones, "ch_1": ones[:1]}, r"differ in their number of samples: {'ch_0': 2, 'ch_1': 1}"),
    ],
)
def test_wrong_batches_are_refused(make: Maker, batch: dict[str, Any], sentence: str) -> None:
    """A missing key is an error that lists those present, and so is what is no batch of volumes."""
    with pytest.raises(DynaclrError, match=sentence):
        make(["ch_0", "ch_1"])(batch)


def test_missing_keys_can_be_allowed() -> None:
    """With `allow_missing_keys` the keys that are there are transformed, even if that is none."""
    batch = {"ch_0": noisy(2, 1, 1, 3, 3)}
    for make in RANDOM.values():
        transform = make(["ch_0", "ch_1"], prob=1.0, allow_missing_keys=True)
        assert list(transform(batch)) == ["ch_0"]
        assert transform({}) == {}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NormalizeSampled("a", allow_missing_keys="no"), "allow_missing_keys='no' needs True or False"),  # type: ignore[arg-type]
        (lambda: ScaleIntensityRangePercentilesd("a", 1, 99, 0, 1, clip="no"), "clip='no' needs True or False"),  # type: ignore[arg-type]
        (lambda: ScaleIntensityRangePercentilesd("a", 1, 99, 0, 1, relative=1), "relative=1 needs True or False"),  # type: ignore[arg-type]
        (lambda: RandGaussianNoised("a", sample_std="no"), "sample_std='no' needs True or False"),  # type: ignore[arg-type]
        (lambda: NormalizeSampled([]), r"keys=\[\] must name at least one channel"),
        (lambda: NormalizeSampled("a", level="fov"), "level='fov' must be 'fov_statistics' or"),  # type: ignore[arg-type]
        (lambda: NormalizeSampled("a", subtrahend="medain"), "subtrahend='medain' must be .* did you mean 'median'"),  # type: ignore[arg-type]
        (lambda: NormalizeSampled("a", divisor="mean"), "divisor='mean' must be 'std' or 'iqr'"),  # type: ignore[arg-type]
        (lambda: ScaleIntensityRangePercentilesd("a", 99, 1, 0, 1), "lower=99 and upper=1 must be percentiles"),
        (lambda: ScaleIntensityRangePercentilesd("a", 1, 99, 1, 0), "b_min=1 and b_max=0 must be"),
        (lambda: ScaleIntensityRangePercentilesd("a", "1", 99, 0, 1), "lower='1' and upper=99 must be percentiles"),  # type: ignore[arg-type]
        (lambda: RandScaleIntensityd("a", prob="1"), r"prob='1' must be a probability in \[0, 1\]"),  # type: ignore[arg-type]
        (lambda: RandScaleIntensityd("a", factors=math.inf), "factors=inf must be a pair of finite numbers"),
        (lambda: RandAdjustContrastd("a", gamma=np.float32(0.25)), "gamma=.*0.25.* must be above 0.5"),
        (lambda: RandScaleIntensityd("a", prob=1.1), r"prob=1.1 must be a probability in \[0, 1\]"),
        (lambda: RandScaleIntensityd("a", factors=(1, 2, 3)), r"factors=\(1, 2, 3\) must be a pair of finite numbers"),  # type: ignore[arg-type]
        (lambda: RandAdjustContrastd("a", gamma=0.4), "gamma=0.4 must be above 0.5"),
        (
            lambda: RandAdjustContrastd("a", gamma=(-1, 2)),
            r"gamma=\(-1, 2\) must be a pair of finite numbers of at least",
        ),
        (lambda: RandGaussianSmoothd("a", sigma_y=(0, math.inf)), r"sigma_y=\(0, inf\) must be a pair"),
        (lambda: RandGaussianNoised("a", std=-1), "std=-1 must be a finite number of at least 0"),
        (lambda: RandGaussianNoised("a", mean=math.nan), "mean=nan must be a finite number"),
        (lambda: RandAffined("a", rotate_range=[0] * 4), r"rotate_range=\[0, 0, 0, 0\] must be a list of at most 3"),
        (lambda: RandAffined("a", scale_range=0.1), "scale_range=0.1 must be a list of at most 3 entries"),
        (lambda: RandAffined("a", scale_range=[0, 1]), r"scale_range=\[0, 1\] must stay above -1"),
        (lambda: RandAffined("a", shear_range=[(0, 1, 2)]), r"shear_range\[0\]=\(0, 1, 2\) must be a pair"),  # type: ignore[list-item]
        (lambda: RandAffined("a", mode="cubic"), "mode='cubic' must be 'bilinear' or 'nearest'"),  # type: ignore[arg-type]
        (lambda: RandAffined("a", padding_mode="zero"), "padding_mode='zero' must be .*; did you mean 'zeros'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_parameters_are_refused(make: Callable[[], object], sentence: str) -> None:
    """A parameter out of range is refused when the transform is made."""
    with pytest.raises(DynaclrError, match=sentence):
        make()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: transforms on the GPU are not run")
@every_random_transform
@every_depth
def test_the_gpu_does_what_the_cpu_does(make: Maker, depth: int) -> None:
    """With a generator of one's own the GPU gives the CPU's batch, and it stays on the GPU."""
    batch = same_samples(6, depth)
    on_gpu = {key: volume.cuda() for key, volume in batch.items()}
    expected = make(["ch_0", "ch_1"], prob=0.5, generator=seeded(10))(batch)["ch_1"]
    seen = make(["ch_0", "ch_1"], prob=0.5, generator=seeded(10))(on_gpu)["ch_1"]
    assert seen.is_cuda
    torch.testing.assert_close(seen.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_generator_of_the_cpu_decides_on_the_gpu_too() -> None:
    """That is the one that the data module seeds for each batch; the GPU's own stays where it is."""
    batch = {"ch_0": torch.zeros(4, 1, 1, 8, 8, device="cuda")}
    state = torch.cuda.get_rng_state()
    seen = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            seen.append(RANDOM["noise"](["ch_0"], prob=1.0)(batch)["ch_0"])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(torch.cuda.get_rng_state(), state)
