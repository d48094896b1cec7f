"""How a mount is tuned: pure functions of the profile, the data and the machine."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.storage.blobfuse import config, profiles
from azray_lab.storage.blobfuse.capacity import MIB, Capacity
from azray_lab.storage.blobfuse.profiles import Wish

LAPTOP = Capacity(memory=8192 * MIB, disk=100_000 * MIB, cpus=4)
_capacities = st.builds(
    Capacity,
    memory=st.integers(0, 2**44),
    disk=st.integers(0, 2**50),
    cpus=st.integers(1, 512),
)
_wishes = st.builds(
    Wish,
    profile=st.sampled_from(profiles.PROFILES),
    small=st.booleans(),
    access=st.sampled_from(["sequential", "random"]),
    read_only=st.booleans(),
    allow_other=st.booleans(),
)


def _values(wish: Wish, capacity: Capacity = LAPTOP) -> dict[str, object]:
    return {setting.key: setting.value for setting in profiles.settings(wish, capacity, "/cache")}


@given(_wishes, _capacities)
def test_whatever_the_machine_memory_and_disk_are_bounded(wish: Wish, capacity: Capacity):
    """Blocks take 64 to 256 MiB, fewer on small machines, and a cache a fifth of the free disk or its least, 64 MiB."""
    values = _values(wish, capacity)
    memory = values.get("block_cache.mem-size-mb", 64)
    assert 64 <= int(str(memory)) <= 256
    assert int(str(memory)) <= max(64, capacity.memory // MIB // 6)
    disk = int(str(values.get("file_cache.max-size-mb", 64)))
    assert 64 <= disk <= max(64, min(capacity.disk // MIB // 5, 64 * 1024))


@given(_wishes, _capacities)
def test_prefetch_is_one_that_blobfuse2_takes(wish: Wish, capacity: Capacity):
    """1 to 10 blocks ahead are refused, and what is ahead must fit into the memory."""
    values = _values(wish, capacity)
    ahead = int(str(values.get("block_cache.prefetch", 0)))
    assert ahead == 0 or ahead >= 11
    assert ahead * 2 <= max(int(str(values.get("block_cache.mem-size-mb", 0))), 1), "others get blocks, too"
    block, memory = values.get("block_cache.block-size-mb", 1), values.get("block_cache.mem-size-mb", 1)
    assert ahead * int(str(block)) <= int(str(memory))


@given(_wishes, _capacities)
def test_every_setting_is_known_has_a_reason_and_survives_the_file(wish: Wish, capacity: Capacity):
    """Each key is one of blobfuse2's, stands once, has words for `--explain`, and reads back from YAML as it was."""
    settings = profiles.settings(wish, capacity, "/cache")
    assert {setting.key for setting in settings} <= config.KEYS
    assert len({setting.key for setting in settings}) == len(settings)
    assert all(setting.reason for setting in settings)
    content = config.document(settings, profiles.components(wish), {"container": "c"}, "/log", "/work")
    assert yaml.safe_load(config.render(content)) == content
    sections = set(content) - {"libfuse", "azstorage", "attr_cache"}
    caches = sections & {"file_cache", "block_cache", "xload"}
    assert caches == set(content["components"]) & {"file_cache", "block_cache", "xload"}
    assert len(caches) == 1


def test_many_small_files_never_lie_in_blocks():
    """Blocks of memory for small files took gigabytes; a data set of them, and what is written, use the disk."""
    assert "file_cache" in profiles.components(Wish("dataset", small=True))
    assert "file_cache" in profiles.components(Wish("shared"))
    assert "file_cache" in profiles.components(Wish("checkpoints"))
    assert "block_cache" in profiles.components(Wish("dataset"))


def test_where_others_write_no_cache_remembers_bytes_or_sizes():
    """Neither the kernel nor blobfuse2 keeps what another node may replace, and none is refreshed under a writer."""
    changing: tuple[profiles.Profile, ...] = ("checkpoints", "shared")
    for profile in changing:
        values = _values(Wish(profile))
        assert values["disable-kernel-cache"] is True
        assert values["libfuse.negative-entry-expiration-sec"] == 0
        assert values["attr_cache.timeout-sec"] == values["file_cache.timeout-sec"] == 0
        assert "file_cache.refresh-sec" not in values
    assert "disable-kernel-cache" not in _values(Wish("dataset"))
    assert "disable-kernel-cache" not in _values(Wish("models"))


def test_random_access_reads_small_blocks_and_not_ahead():
    """64 KiB out of the middle must not fetch 16 MiB."""
    values = _values(Wish("dataset", access="random"))
    assert (values["block_cache.block-size-mb"], values["block_cache.prefetch"]) == (1, 0)


@given(_wishes)
def test_preload_is_never_chosen_and_the_reason_is_said(wish: Wish):
    """`--explain` names the layers, none of which is xload, and why."""
    layers = profiles.layers(wish)
    assert str(layers.value).split(", ") == profiles.components(wish)
    assert "xload" not in str(layers.value)
    assert "not preload:" in layers.reason
