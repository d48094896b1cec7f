"""How a mount is tuned: from a profile, what the data looks like and what the machine has, to blobfuse2's settings.

Pure functions; each setting has its reason, which `azray mount --explain` prints. The numbers were measured with
blobfuse2 2.5.6 against a server without delay and one that answers after 10 ms with 60 MB/s a connection; the
documentation's page on benchmarks has the script.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from azray_lab.storage.blobfuse.capacity import MIB, Capacity

Profile = Literal["dataset", "checkpoints", "models", "shared"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
Access = Literal["sequential", "random"]
Value = str | int | bool

# A mount may take this much memory at most, whatever the machine has; blobfuse2's own default is 60 % of what is free.
MEMORY_LIMIT = 400 * MIB
# What blobfuse2 needs beside its blocks, measured: 60 to 90 MiB.
_BESIDE = 100 * MIB
_BLOCKS = 256 * MIB
_LEAST_BLOCKS = 64 * MIB
_MEMORY_PART = 6
_DISK_PART = 5
_DISK_LIMIT = 64 * 1024 * MIB
# A block in order. Larger ones were no faster, and six open files of 8 MiB blocks used up 256 MiB, with EIO for others.
_BLOCK = 2 * MIB


@dataclass(frozen=True)
class Setting:
    """One value of blobfuse2's configuration, `section.key`, and why it is what it is."""

    key: str
    value: Value
    reason: str


@dataclass(frozen=True)
class Wish:
    """What a mount is for: the profile, whether its files are many and small, how they are read, who may see them."""

    profile: Profile
    small: bool = False
    access: Access = "sequential"
    read_only: bool = False
    allow_other: bool = False


def on_disk(wish: Wish) -> bool:
    """Whether whole files are kept on disk, and not blocks of them in memory.

    So for all that is written: a file that is open for writing keeps its blocks, and a pool that several such files
    have used up fails with EIO after five seconds (block_cache, 2.5.6).
    """
    return wish.small or changing(wish)


def changing(wish: Wish) -> bool:
    """Whether others write there while it is mounted: then each opening of a file gives what is in Blob by then.

    So nothing is remembered. Measured with 2.5.6: the file cache gives the same bytes for as long as a file is opened
    again and again; a size that the cache of attributes remembers cuts the blob by which another writer has replaced
    the first, or fills it up with zeros; with `refresh-sec` a reader replaces what a writer has not yet closed.
    """
    return wish.profile in {"checkpoints", "shared"}


def settings(wish: Wish, capacity: Capacity, cache: str) -> list[Setting]:
    """Every setting that the profile decides, in the order of the file. `cache` is the mount's own folder on disk."""
    body = _file_cache(capacity, cache, wish) if on_disk(wish) else _blocks(wish, capacity)
    return [*_top(wish), *_kernel(wish), *body, *_attributes(wish), *_service(wish)]


def components(wish: Wish) -> list[str]:
    """blobfuse2's layers for that wish, from the kernel to the service."""
    return ["libfuse", "file_cache" if on_disk(wish) else "block_cache", "attr_cache", "azstorage"]


def layers(wish: Wish) -> Setting:
    """The layers as `--explain` shows them: why that cache, and why never `xload`, blobfuse2's preload.

    Preload fetches all below the folder to the disk when it is mounted, in order of their names, and drops it at the
    end. Measured at 10 ms: one large file 662 MB/s (blocks read ahead 712), 170 small files a second (a copy 2,800).
    """
    if on_disk(wish):
        why = "whole files on disk" if wish.read_only else "whole files on disk, which can be written in any order"
    else:
        why = "blocks in memory: reading begins with the first one"
    slower = "a copy by --engine hydrate brings sixteen times as many small files a second, and stays"
    faster = slower if wish.small else "it was no faster with large files, takes all of them, and drops them at the end"
    return Setting("components", ", ".join(components(wish)), f"{why}; not preload: {faster}")


def _top(wish: Wish) -> list[Setting]:
    out = []
    if wish.read_only:
        out.append(Setting("read-only", value=True, reason="what is only read cannot be overwritten by mistake"))
    if wish.allow_other:
        out.append(Setting("allow-other", value=True, reason="other users of this machine asked to be let in"))
    if changing(wish):
        why = "others write here, too; the kernel would keep the old bytes for ever"
        out.append(Setting("disable-kernel-cache", value=True, reason=why))
    return out


def _kernel(wish: Wish) -> list[Setting]:
    changes = changing(wish)
    fresh = "the size of a file that another writer has replaced is seen at once"
    seconds, why = (0, fresh) if changes else (7200, "the data does not change while it is read")
    absent = "a file that another machine is about to write is found as soon as it is there"
    return [
        Setting("libfuse.attribute-expiration-sec", seconds, why),
        Setting("libfuse.entry-expiration-sec", seconds, why),
        Setting("libfuse.negative-entry-expiration-sec", 0 if changes else 60, absent if changes else why),
        Setting("libfuse.max-fuse-threads", 32, "each of the default's 128 threads holds buffers of its own"),
    ]


def block_memory(capacity: Capacity) -> int:
    """How many bytes of memory the blocks may take: a sixth of what is free, 64 to 256 MiB."""
    return max(_LEAST_BLOCKS, min(_BLOCKS, capacity.memory // _MEMORY_PART))


def _blocks(wish: Wish, capacity: Capacity) -> list[Setting]:
    memory = block_memory(capacity)
    pool = (
        f"{memory // MIB} MiB: a sixth of the free memory, at most {_BLOCKS // MIB}; default: 60 % of all that is free"
    )
    if wish.access == "random":
        return [
            Setting("block_cache.block-size-mb", 1, "a read of a few KiB fetches 1 MiB and not 16"),
            Setting("block_cache.mem-size-mb", memory // MIB, pool),
            Setting("block_cache.prefetch", 0, "what comes next is not known: 3.4 times the default's random reads"),
            Setting("block_cache.parallelism", _threads(capacity), "one for each read that can be under way"),
        ]
    ahead = memory // (2 * _BLOCK)
    return [
        Setting("block_cache.block-size-mb", _BLOCK // MIB, "each open file that is read half keeps five blocks"),
        Setting("block_cache.mem-size-mb", memory // MIB, pool),
        Setting("block_cache.prefetch", ahead, "read ahead: half of the blocks, the rest is for other files"),
        Setting("block_cache.parallelism", ahead, "one connection for each block that is ahead"),
    ]


def _threads(capacity: Capacity) -> int:
    return max(16, 3 * capacity.cpus)


def disk_room(capacity: Capacity) -> int:
    """How many bytes of disk a mount's cache may take: a fifth of what is free, at most 64 GiB."""
    return min(capacity.disk // _DISK_PART, _DISK_LIMIT)


def _file_cache(capacity: Capacity, cache: str, wish: Wish) -> list[Setting]:
    room = disk_room(capacity) // MIB
    why = {
        "checkpoints": "whole files on disk: many files may be written at once, in any order",
        "shared": "whole files on disk, so that every program's way of writing works",
    }.get(wish.profile, "whole files on disk: blocks in memory took gigabytes for a few hundred small files")
    seconds, stays = 7200, "how long a file stays that nobody has open"
    if changing(wish):
        seconds, stays = (
            0,
            "each opening fetches what is in Blob then; while a program has it open, all see that",
        )
    return [
        Setting("file_cache.path", cache, why),
        Setting("file_cache.max-size-mb", max(room, 64), "a fifth of the free disk, at most 64 GiB; default: 80 %"),
        Setting("file_cache.timeout-sec", seconds, stays),
        Setting("file_cache.cleanup-on-start", value=True, reason="after a crash the folder is not empty, which fails"),
        Setting("file_cache.sync-to-flush", value=True, reason="fsync means that it is in Blob, not only on this disk"),
    ]


def _attributes(wish: Wish) -> list[Setting]:
    cut = "a file that another writer replaced would come cut at its old size; costs requests for each name of `ls -l`"
    seconds, why = (0, cut) if changing(wish) else (7200, "sizes and times do not change while it is read")
    return [
        Setting("attr_cache.timeout-sec", seconds, why),
        Setting("attr_cache.max-size-mb", 48, "about 100,000 names; the default takes a part of the machine's memory"),
    ]


def _service(wish: Wish) -> list[Setting]:
    out = [
        Setting("azstorage.max-results-for-list", 5000, "one request for 5,000 names: the first look at a folder"),
        Setting("azstorage.max-retries", 4, "throttling passes; a read that cannot succeed ends"),
        Setting("azstorage.retry-backoff-sec", 1, "the first pause; it doubles"),
        Setting("azstorage.max-retry-delay-sec", 8, "the longest pause"),
        Setting(
            "azstorage.max-retry-timeout-sec", 60, "for a silent server; nobody can kill who waits the default 900 s"
        ),
    ]
    if on_disk(wish):
        out.append(Setting("azstorage.max-concurrency", 32, "ranges of one file that travel at once"))
    if on_disk(wish) and not wish.read_only:
        why = "files up to 256 MiB would go up in one piece, over one connection"
        out.append(Setting("azstorage.block-size-mb", 8, why))
    return out


def environment() -> dict[str, str]:
    """Variables that bound the memory of blobfuse2's process: a limit of Go's own garbage collector."""
    return {"GOMEMLIMIT": f"{(MEMORY_LIMIT - _BESIDE // 2) // MIB}MiB"}
