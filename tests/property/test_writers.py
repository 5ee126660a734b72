"""What the writers write is what the description says, for every reader of OME-Zarr."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorstore
import yaml
import zarr

from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription, TrackDescription
from dynaclr_strategies.pixels import DTYPES, expected_patch, fov_pixels, what_was_read
from dynaclr_strategies.ready_made import lineage_tracks, two_experiments
from dynaclr_strategies.writers import write_registry

SMALL = two_experiments(frames=3, size=(16, 12), z=2, tracks=3)


def _variant(**changes: object) -> RegistryDescription:
    experiments = tuple(dataclasses.replace(e, **changes) for e in SMALL.experiments)  # type: ignore[arg-type]
    return RegistryDescription(experiments=experiments)


VARIANTS = {
    "default": {},
    "one chunk": {"chunks": (99, 99, 99, 99, 99)},
    "ragged chunks": {"chunks": (2, 2, 1, 5, 7)},
    "compressed": {"compressed": True},
    "normalization": {"normalization": True},
    "capital axes": {"axes": "TCZYX"},
}


def _read_with_iohub(root: Path, fov_name: str) -> tuple[list[str], np.ndarray, dict[str, object]]:
    from iohub import open_ome_zarr

    with open_ome_zarr(root, mode="r") as plate:
        position = plate[fov_name]
        return list(position.channel_names), np.asarray(position["0"][:]), dict(position.zattrs)


def _read_with_tensorstore(path: Path, driver: str) -> np.ndarray:
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    return np.asarray(tensorstore.open(spec, open=True).result().read().result())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_reader_sees_the_described_pixels(version: str, variant: str) -> None:
    """iohub, zarr and tensorstore read the same array, and it is the one the description expands to."""
    description = _variant(ome_version=version, **VARIANTS[variant])
    with tempfile.TemporaryDirectory() as folder:
        write_registry(description, Path(folder))
        for experiment in description.experiments:
            root = Path(folder) / f"{experiment.name}.zarr"
            for fov_name, _ in experiment.fovs():
                expected = fov_pixels(description, experiment.name, fov_name)
                names, pixels, attributes = _read_with_iohub(root, fov_name)
                assert tuple(names) == experiment.channel_names
                assert ("normalization" in attributes) == experiment.normalization
                np.testing.assert_array_equal(pixels, expected)
                array = zarr.open_array(root / fov_name / "0", mode="r")
                np.testing.assert_array_equal(np.asarray(array[:]), expected)
                driver = "zarr" if version == "0.4" else "zarr3"
                np.testing.assert_array_equal(_read_with_tensorstore(root / fov_name / "0", driver), expected)


def test_shards_are_read_back() -> None:
    """A sharded store of version 0.5 holds the same pixels."""
    description = _variant(ome_version="0.5", chunks=(1, 1, 1, 8, 6), shards=(3, 1, 2, 2, 2))
    with tempfile.TemporaryDirectory() as folder:
        write_registry(description, Path(folder))
        path = Path(folder) / "exp_alpha.zarr" / "A/1/0/0"
        metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        assert metadata["codecs"][0]["name"] == "sharding_indexed"
        expected = fov_pixels(description, "exp_alpha", "A/1/0")
        np.testing.assert_array_equal(_read_with_tensorstore(path, "zarr3"), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_dtype_survives_float32(dtype: str, version: str) -> None:
    """Pixels of every dtype are read back exactly and lose nothing in float32."""
    description = _variant(dtype=dtype, ome_version=version)
    with tempfile.TemporaryDirectory() as folder:
        write_registry(description, Path(folder))
        _, pixels, _ = _read_with_iohub(Path(folder) / "exp_beta.zarr", "B/1/0")
    expected = fov_pixels(description, "exp_beta", "B/1/0")
    assert pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(pixels.astype(np.float32).astype(np.float64), expected.astype(np.float64))


def test_statistics_are_those_of_the_pixels() -> None:
    """Normalization metadata holds the statistics of FOV, data set and time point."""
    description = _variant(normalization=True)
    with tempfile.TemporaryDirectory() as folder:
        write_registry(description, Path(folder))
        _, _, attributes = _read_with_iohub(Path(folder) / "exp_beta.zarr", "A/1/0")
    statistics = attributes["normalization"]["RFP"]  # type: ignore[index]
    pixels = fov_pixels(description, "exp_beta", "A/1/0").astype(np.float64)
    assert statistics["fov_statistics"]["mean"] == pytest.approx(pixels[:, 1].mean())
    assert statistics["timepoint_statistics"]["2"]["std"] == pytest.approx(pixels[2, 1].std())
    both = np.stack([pixels[:, 1], fov_pixels(description, "exp_beta", "B/1/0").astype(np.float64)[:, 1]])
    assert statistics["dataset_statistics"]["median"] == pytest.approx(np.median(both))


def test_a_patch_tells_where_it_is_from() -> None:
    """A wrong patch is explained channel by channel, also where it was padded with zeros."""
    whole = fov_pixels(SMALL, "exp_beta", "B/1/0")
    wanted = expected_patch(SMALL, "exp_beta", "B/1/0", 2, ["RFP"], slice(0, 2), slice(3, 9), slice(1, 5))
    np.testing.assert_array_equal(wanted, whole[2, 1:2, :, 3:9, 1:5])
    mito = expected_patch(SMALL, "exp_alpha", "A/1/0", 1, ["Mito"], slice(0, 2), slice(4, 10), slice(2, 6))
    padded = np.pad(whole[0, 0, :, 0:4, 0:4], [(0, 0), (2, 0), (0, 0)])
    first, second, third = what_was_read(SMALL, np.stack([mito[0], padded, np.full_like(padded, -1.0)]))
    assert str(first) == "`Mito` of exp_alpha A/1/0 t=1 z=0 y=4 x=2"
    assert str(second) == "`Phase3D` of exp_beta B/1/0 t=0 z=0 y=-2 x=0 (67% of the voxels)"
    assert third is None


def test_pixels_differ_everywhere() -> None:
    """No two voxels of different experiments, FOVs, frames or channels are confused in a float32 store."""
    arrays = [fov_pixels(SMALL, e.name, name).ravel() for e in SMALL.experiments for name, _ in e.fovs()]
    values = np.concatenate(arrays)
    # n(n-1)/2 pairs collide with probability 2**-24 each: about 1.4 of these 6912 voxels.
    assert len(values) - len(np.unique(values)) < 12


def test_tracks_and_yaml_hold_what_is_described() -> None:
    """The CSV has a row per track and frame, and the YAML names stores and tracks relative to itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(two_experiments(), Path(folder))
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))["experiments"][1]
        assert entry["condition_wells"] == {"uninfected": ["A/1"], "infected": ["B/1"]}
        assert (path.parent / entry["data_path"]).is_dir()
        frame = pd.read_csv(path.parent / entry["tracks_path"] / "A" / "1" / "0" / "tracks.csv")
    assert list(frame) == ["track_id", "t", "y", "x", "parent_track_id"]
    assert len(frame) == 5 + 5 + 5 + 10 + 10
    assert frame.loc[frame["track_id"] == 2, "parent_track_id"].unique().tolist() == [1]
    assert frame.loc[frame["track_id"] == 1, "parent_track_id"].isna().all()


@pytest.mark.parametrize("text", ["json", "yaml"])
def test_descriptions_travel(text: str) -> None:
    """A description is the same after JSON and YAML, types included."""
    odd = dataclasses.replace(
        SMALL.experiments[0],
        name="no",
        date="2024",
        condition_wells=(("ÄÖ - µ", ("A/1",)), ("1e3", ("B/1",))),
        interval_minutes=1e-07,
        chunks=(1, 1, 1, 4, 4),
        founder_parent=0,
    )
    description = RegistryDescription(experiments=(odd, SMALL.experiments[1]))
    again = getattr(RegistryDescription, f"from_{text}")(getattr(description, f"to_{text}")())
    assert again == description
    assert isinstance(again.experiments[0].interval_minutes, float)


def test_unknown_fields_are_refused() -> None:
    """A description with a field that does not exist says which there are."""
    data = TrackDescription(track_id=1, frames=(0,)).to_plain() | {"colour": "red"}
    with pytest.raises(ValueError, match=r"has no fields \['colour'\]; it has .*'track_id'"):
        TrackDescription.from_plain(data)
    with pytest.raises(ValueError, match=r"lacks the fields \['channel_names'"):
        ExperimentDescription.from_plain({"name": "a"})
    with pytest.raises(ValueError, match=r"frames\[0\] must be int, got '0'"):
        TrackDescription.from_plain({"track_id": 1, "frames": ["0"]})


def test_divisions_need_tracks() -> None:
    """A request for more divisions than the tracks allow is refused."""
    with pytest.raises(ValueError, match="needs tracks >= 6 and frames >= 2"):
        lineage_tracks(5, divisions=2)
