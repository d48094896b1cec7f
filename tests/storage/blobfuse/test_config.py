"""What a user may set of blobfuse2's own configuration, and what never stands in it."""

from __future__ import annotations

import pytest

from azray_lab.errors import UsageError
from azray_lab.storage.blobfuse import config
from azray_lab.storage.blobfuse.profiles import Setting


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("block_cache.prefetch=16", ("block_cache.prefetch", 16)),
        ("file_cache.sync-to-flush = false", ("file_cache.sync-to-flush", False)),
        ("azstorage.tier=cool", ("azstorage.tier", "cool")),
        ("file_cache.max-size-mb=1.5", ("file_cache.max-size-mb", "1.5")),
        ("wait-for-mount=5s", ("wait-for-mount", "5s")),
        ("read-only=true", ("read-only", True)),
    ],
)
def test_a_setting_is_read_as_its_kind(text: str, pair: tuple[str, object]):
    """`--set` takes numbers, true and false, and text."""
    assert config.parse_override(text) == pair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("block_cache.prefetchh=16", "Did you mean 'block_cache.prefetch'?"),
        ("prefetch", "is no setting"),
        ("azstorage.account-key=abc", "cannot be set"),
        ("azstorage.sas=abc", "cannot be set"),
        ("azstorage.container=other", "cannot be set"),
        ("logging.file-path=/etc/passwd", "has no setting"),
        ("file_cache.timeout-sec=ten", "file_cache.timeout-sec cannot be 'ten': it wants a number, 0 or more"),
        ("file_cache.timeout-sec=-1", "it wants a number"),
        ("file_cache.timeout-sec=true", "it wants a number"),
        ("file_cache.timeout-sec=", "it wants a number"),
        ("file_cache.sync-to-flush=7", "it wants true or false"),
        ("azstorage.tier=warm", "it wants one of hot, cool"),
        ("logging.level=loud", "it wants one of log_off"),
        ("azstorage.http-proxy=8080", "it wants a text"),
    ],
)
def test_what_may_not_be_set_is_refused_with_the_reason(text: str, words: str):
    """blobfuse2 would take an unknown key in silence; secrets and the place come from elsewhere."""
    with pytest.raises(UsageError, match=r".") as caught:
        config.parse_override(text)
    assert words in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_setting_of_a_layer_that_is_not_there_is_refused():
    """`block_cache.prefetch` on a mount with a file cache would do nothing."""
    with pytest.raises(UsageError, match="the cache of this mount is file_cache"):
        config.check_layers({"block_cache.prefetch": 16}, ["libfuse", "file_cache", "azstorage"])
    config.check_layers({"block_cache.prefetch": 16, "read-only": True}, ["block_cache"])


def test_a_user_s_value_replaces_ours_and_says_so():
    """An override keeps its place in the file, names what ours was, and a new one comes at the end."""
    ours = [Setting("block_cache.prefetch", 32, "because"), Setting("read-only", value=True, reason="because")]
    out = config.overridden(ours, {"block_cache.prefetch": 16, "azstorage.tier": "cool"})
    assert [(s.key, s.value) for s in out] == [
        ("block_cache.prefetch", 16),
        ("read-only", True),
        ("azstorage.tier", "cool"),
    ]
    assert "ours is 32" in out[0].reason
