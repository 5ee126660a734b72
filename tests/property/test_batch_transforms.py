"""What a batch goes through on its device: order, crop, dice, and what is not worked on because it is cropped away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_batches import raw_batch
from monai.transforms import Compose, Identityd, OneOf, RandShiftIntensityd
from torch import Tensor

from dynaclr.augment import ChannelDropout
from dynaclr.batch_transforms import BatchTransforms
from dynaclr.errors import DynaclrError
from dynaclr.transforms import (
    NormalizeSampled,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    ScaleIntensityRangePercentilesd,
)
from dynaclr.transforms.base import BatchTransform

KEYS = st.sampled_from([["ch_0"], ["ch_1"], ["ch_0", "ch_1"]])
PROBABILITIES = st.sampled_from([0.5, 1.0])
TURNS = st.sampled_from([{"rotate_range": 3.0}, {"rotate_range": [1.0, 0.5], "translate_range": [1.0, 2.0, 3.0]}])


def _mirrored(sample: dict[str, Any]) -> dict[str, Any]:
    """Transform as somebody else's code does, which says nothing of itself and moves voxels far."""
    return {**sample, "ch_0": sample["ch_0"].flip(-1).cumsum(-2)}


WIDE: dict[str, st.SearchStrategy[Any]] = {
    "affine": st.builds(
        lambda keys, prob, turn, mode, padding: RandAffined(keys, prob, mode=mode, padding_mode=padding, **turn),
        KEYS,
        PROBABILITIES,
        TURNS,
        st.sampled_from(["bilinear", "nearest"]),
        st.sampled_from(["zeros", "border", "reflection"]),
    ),
    "smooth": st.builds(RandGaussianSmoothd, KEYS, PROBABILITIES),
    "contrast": st.builds(RandAdjustContrastd, KEYS, PROBABILITIES),
    "percentiles": st.builds(
        ScaleIntensityRangePercentilesd, KEYS, st.just(10), st.just(90), st.just(0.0), st.just(1.0)
    ),
    "another's": st.just(_mirrored),
}
VOXELWISE = st.one_of(
    st.builds(RandScaleIntensityd, KEYS, PROBABILITIES, st.just(0.5)),
    st.just(NormalizeSampled(["ch_0"])),
)


@given(
    first=st.integers(1, 12),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    samples=st.integers(1, 3),
)
def test_the_crop_is_in_the_centre(first: int, height: int, width: int, samples: int) -> None:
    """As many pixels go above as below, or one fewer; a patch that is too small is an error."""
    transforms = BatchTransforms([], [], (height, width), ChannelDropout([]))
    batch = raw_batch(samples, size=first)
    if height > first or width > first:
        with pytest.raises(DynaclrError, match="needs to fit into the transformed patches"):
            transforms(batch, training=False)
        return
    cropped = transforms(batch, training=False)
    top, left = (first - height) // 2, (first - width) // 2
    for key in ("anchor", "positive"):
        assert torch.equal(cropped[key], batch[key][:, :, :, top : top + height, left : left + width])
    assert cropped["lineage"] is batch["lineage"]


def test_transforms_run_in_order_and_leave_the_raw_batch_alone() -> None:
    """Normalizations before augmentations, then the crop, then dropout; keys are ch_0, ch_1 by position."""
    seen: list[tuple[str, list[str], tuple[int, ...]]] = []

    def step(name: str) -> Any:
        def transform(sample: dict[str, Any]) -> dict[str, Any]:
            seen.append((name, sorted(sample), tuple(sample["ch_1"].shape)))
            return {**sample, "ch_1": sample["ch_1"] * 2}

        return transform

    transforms = BatchTransforms([step("normalize")], [step("augment")], (5, 5), ChannelDropout([0], 1.0))
    batch = raw_batch(3)
    before = {key: value.clone() for key, value in batch.items() if isinstance(value, torch.Tensor)}
    trained, validated = transforms(batch, training=True), transforms(batch, training=False)
    names = ["normalize", "augment", "normalize", "augment", "normalize", "normalize"]
    assert seen == [(name, ["ch_0", "ch_1", "norm_meta"], (3, 1, 1, 9, 9)) for name in names]
    inner = batch["anchor"][..., 2:7, 2:7]
    assert torch.equal(validated["anchor"], inner * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))
    assert torch.equal(trained["anchor"][:, 1], inner[:, 1] * 4)
    assert not trained["anchor"][:, 0].any()
    assert all(torch.equal(batch[key], value) for key, value in before.items())


def _noisy(sample: dict[str, Any]) -> dict[str, Any]:
    """Draw once for all samples, as transforms that know nothing of batches do."""
    return {**sample, "ch_0": sample["ch_0"] + torch.rand(())}


ONE_DRAW = {
    "ours": RandScaleIntensityd(["ch_0"], prob=1.0),
    "another's": _noisy,
    "one of ours": OneOf([RandScaleIntensityd(["ch_0"], prob=1.0, factors=(n, n)) for n in range(99)]),
    "monai's": RandShiftIntensityd(["ch_0"], offsets=1.0, prob=1.0),
}


@pytest.mark.parametrize("noise", ONE_DRAW.values(), ids=ONE_DRAW)
@pytest.mark.parametrize("seeds", [[None] * 20, range(20)], ids=["unseeded", "seeded"])
def test_anchor_and_positive_get_independent_draws(noise: Any, seeds: Sequence[int | None]) -> None:
    """In augmentation and in dropout alike, also of what draws once for all the samples that it is given.

    By chance one of 99 choices is the same in all 20 batches once in 10**39 times, and all 64 coins once in 10**19.
    """
    transforms = BatchTransforms([], [noise], (9, 9), ChannelDropout([1], 0.5))
    batch = {**raw_batch(64), "positive": raw_batch(64)["anchor"]}
    batches = [transforms(batch, training=True, seed=seed) for seed in seeds]
    assert any(not torch.equal(trained["anchor"][0, 0], trained["positive"][0, 0]) for trained in batches)
    kept = [batches[0][key][:, 1].flatten(1).any(1) for key in ("anchor", "positive")]
    assert not torch.equal(*kept)


def test_statistics_reach_the_transforms_of_their_own_crop() -> None:
    """The anchor's with the anchor, the positive's with the positive."""
    transforms = BatchTransforms([NormalizeSampled(["ch_0"])], [], (9, 9), ChannelDropout([]))
    batch = raw_batch(2)
    batch["positive_norm_meta"] = [{"ch_0": {"fov_statistics": {"mean": 2.0, "std": 4.0}}}] * 2
    normal = transforms(batch, training=False)
    assert torch.allclose(normal["anchor"][:, 0], (batch["anchor"][:, 0] - 1) / 2)
    assert torch.allclose(normal["positive"][:, 0], (batch["positive"][:, 0] - 2) / 4)
    assert torch.equal(normal["anchor"][:, 1], batch["anchor"][:, 1])


def test_a_transform_that_loses_a_channel_is_named() -> None:
    """Otherwise the encoder would see another number of channels."""

    def loses(sample: dict[str, Any]) -> dict[str, Any]:
        return {"ch_0": sample["ch_0"]}

    with pytest.raises(DynaclrError, match=r"need to keep the keys \['ch_0', 'ch_1'\], but .*loses.* lost \['ch_1'\]"):
        BatchTransforms([loses], [], (9, 9), ChannelDropout([]))(raw_batch(1), training=False)


def test_a_seed_decides_what_is_drawn_and_the_global_generator_stays() -> None:
    """The same seed draws the same, each view its own, dropout included."""
    noise = RandGaussianNoised(["ch_0"], prob=1.0)
    transforms, batch = BatchTransforms([], [noise], (9, 9), ChannelDropout([1], 0.5)), raw_batch(32)
    before = torch.get_rng_state()
    first, again, other = (transforms(batch, training=True, seed=seed) for seed in (1, 1, 2))
    transforms({key: value for key, value in batch.items() if "positive" not in key}, training=True, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for key in ("anchor", "positive"):
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key][:, 0], other[key][:, 0])
    dropped = {key: (first[key][:, 1] == 0).flatten(1).all(1) for key in ("anchor", "positive")}
    assert not torch.equal(dropped["anchor"], dropped["positive"])


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "composed"])
def test_monais_random_transforms_follow_the_seed_too(wrapped: bool) -> None:
    """They draw from generators of their own, which begin anywhere: two runs of one seed would differ."""

    def shifts(seed: int, keys: list[str]) -> Tensor:
        steps = [RandShiftIntensityd([key], offsets=1.0, prob=1.0) for key in keys]
        transforms = BatchTransforms([], [Compose(steps)] if wrapped else steps, (9, 9), ChannelDropout([]))
        batch = raw_batch(2)
        transforms(batch, training=True)  # without a seed, anywhere
        trained = transforms(batch, training=True, seed=seed)
        assert {type(trained[view]) for view in ("anchor", "positive")} == {Tensor}, "not of MONAI's own kind"
        return torch.stack([(trained[view] - batch[view])[0, :, 0, 0, 0] for view in ("anchor", "positive")])

    first, other = (shifts(seed, ["ch_0", "ch_1"]) for seed in (1, 2**63))
    assert torch.equal(first, shifts(1, ["ch_0", "ch_1"]))
    assert len(torch.cat([first, other]).unique()) == 8, "two transforms, two views or two seeds draw alike"


def _after_all(patches: Tensor, norm_meta: list[Any], transforms: list[Any], size: tuple[int, int]) -> Tensor:
    """Return patches as the words have it: every transform on whole ones, one after the other, then the crop."""
    sample = {"ch_0": patches[:, :1], "ch_1": patches[:, 1:], "norm_meta": norm_meta}
    for transform in transforms:
        sample = transform(sample)
    top, left = (patches.shape[-2] - size[0]) // 2, (patches.shape[-1] - size[1]) // 2
    both = torch.cat([sample["ch_0"], sample["ch_1"]], dim=1)
    return both[..., top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize("last", [*WIDE, None])
@given(st.data(), st.integers(1, 3), st.integers(5, 14), st.integers(5, 14))
def test_cropping_early_changes_no_voxel(
    last: str | None, data: st.DataObject, depth: int, height: int, width: int
) -> None:
    """What is not worked on is cropped away in the end: the rest is as if it came last, with the same dice.

    Anchors and positives go through transforms of ours together, and through others one after the other.
    """
    steps = [] if last is None else [st.lists(st.one_of(VOXELWISE, *WIDE.values()), max_size=2), st.tuples(WIDE[last])]
    transforms = [one for some in [*steps, st.lists(VOXELWISE, max_size=2)] for one in data.draw(some, label="next")]
    size = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)), label="final size")
    batch = raw_batch(3)
    patches = torch.rand(6, 2, depth, height, width, generator=torch.Generator().manual_seed(1))
    batch["anchor"], batch["positive"] = patches[:3], patches[3:]
    batch["positive_norm_meta"] = [{"ch_0": {"fov_statistics": {"mean": 2.0, "std": 4.0}}}] * 3
    norm_meta = batch["anchor_norm_meta"] + batch["positive_norm_meta"]
    groups = [slice(0, 3), slice(3, 6)] if _mirrored in transforms else [slice(0, 6)]
    torch.manual_seed(0)
    expected = torch.cat([_after_all(patches[some], norm_meta[some], transforms, size) for some in groups])
    torch.manual_seed(0)
    seen = BatchTransforms([], transforms, size, ChannelDropout([]))(batch, training=True)
    torch.testing.assert_close(torch.cat([seen["anchor"], seen["positive"]]), expected, rtol=1e-5, atol=1e-5)


class Watched(BatchTransform):
    """Notes the planes that it is given."""

    def __init__(self, seen: list[tuple[int, int]], voxelwise: bool) -> None:
        super().__init__(["ch_0"])
        self.seen = seen
        self.voxelwise = voxelwise  # type: ignore[misc]  # each of them its own

    def transform(self, data: Any, volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Note them."""
        del data
        self.seen.append(tuple(volumes["ch_0"].shape[-2:]))
        return volumes


@given(st.lists(st.booleans(), max_size=5))
def test_what_is_cropped_away_is_not_worked_on(voxelwise: list[bool]) -> None:
    """Behind the last transform that looks beyond a voxel, only the centre is left; before it, all is there."""
    seen: list[tuple[int, int]] = []
    batch = raw_batch(2)
    del batch["positive"]
    BatchTransforms([], [Watched(seen, own) for own in voxelwise], (5, 3), ChannelDropout([]))(batch, training=True)
    wide = max((place for place, own in enumerate(voxelwise, start=1) if not own), default=0)
    assert seen == [(9, 9)] * wide + [(5, 3)] * (len(voxelwise) - wide)


def test_an_affine_transform_resamples_no_more_than_the_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody behind it needs more."""
    sampled: list[tuple[int, ...]] = []
    grid_sample: Callable[..., Tensor] = torch.nn.functional.grid_sample

    def watched(pixels: Tensor, grid: Tensor, *options: Any, **more: Any) -> Tensor:
        sampled.append(tuple(grid.shape))
        return grid_sample(pixels, grid, *options, **more)

    monkeypatch.setattr(torch.nn.functional, "grid_sample", watched)
    turn, noise = RandAffined(["ch_0"], prob=1.0, rotate_range=1.0), RandGaussianNoised(["ch_0"], prob=1.0)
    batch = raw_batch(2)
    BatchTransforms([], [turn, noise], (5, 3), ChannelDropout([]))(batch, training=True)
    BatchTransforms([], [turn, _mirrored, noise], (5, 3), ChannelDropout([]))(batch, training=True)
    assert sampled == [(4, 5, 3, 2)] + [(2, 9, 9, 2)] * 2


def test_patches_that_a_transform_made_too_small_are_refused() -> None:
    """Also where the last transform would be asked for their centre only."""

    def shrunk(sample: dict[str, Any]) -> dict[str, Any]:
        return {**sample, "ch_1": sample["ch_1"][..., :4, :]}

    for transforms in ([shrunk], [shrunk, RandAffined(["ch_0", "ch_1"], prob=1.0)]):
        with pytest.raises(DynaclrError, match=r"final_yx_patch_size is \(5, 5\), .* patches of \(4, 9\) pixels"):
            BatchTransforms([], transforms, (5, 5), ChannelDropout([]))(raw_batch(1), training=True)


def test_transforms_for_single_images_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """MONAI's own, also in its containers; neither ours nor somebody's functions, nor what looks at no pixels."""
    shift = RandShiftIntensityd(["ch_0"], offsets=1.0)
    steps = [RandAffined(["ch_0"]), _mirrored, Identityd(["ch_0"]), Compose([shift, NormalizeSampled(["ch_0"])])]
    BatchTransforms(steps, [], (2, 2), ChannelDropout([])).warn_of_single_image_transforms()
    assert [message.split(" takes")[0] for message in caplog.messages] == ["RandShiftIntensityd of MONAI"]


class Projected(NormalizeSampled):
    """Somebody's transform, made of ours, that leaves one slice."""

    def transform(self, data: Any, volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the brightest voxels."""
        del data
        return {key: volume.amax(2, keepdim=True) for key, volume in volumes.items()}


def test_who_keeps_shapes_is_known_of_our_own_transforms_alone() -> None:
    """Of one derived from them nobody knows, nor of one inside a container."""

    def keep_shapes(*steps: Any) -> bool:
        return BatchTransforms(steps, [], (2, 2), ChannelDropout([])).keep_shapes

    ours = [NormalizeSampled(["ch_0"]), RandAffined(["ch_0"])]
    assert keep_shapes(*ours)
    assert keep_shapes(Compose(ours))
    assert not keep_shapes(*ours, Projected(["ch_0"]))
    assert not keep_shapes(Compose([Projected(["ch_0"])]))
