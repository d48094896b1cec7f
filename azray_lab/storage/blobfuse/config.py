"""The configuration file of blobfuse2: its keys, what a user may override, and its text. No secret is ever in it.

blobfuse2 takes an unknown key in silence, so every key is checked here. Source of the keys: the `config:` tags of
Azure/azure-storage-fuse 2.5 (cmd/mount.go and component/*/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from azray_lab.errors import UsageError, nearest
from azray_lab.storage.blobfuse.profiles import Setting, Value

_SECTIONS: dict[str, str] = {
    "": "allow-other allow-root disable-kernel-cache nonempty read-only lazy-write wait-for-mount direct-io",
    "logging": "type level max-file-size-mb file-count goroutine-id track-time compress",
    "libfuse": "default-permission attribute-expiration-sec entry-expiration-sec negative-entry-expiration-sec "
    "fuse-trace extension disable-writeback-cache ignore-open-flags uid gid max-fuse-threads direct-io umask "
    "kernel-list-cache-expiration-sec",
    "file_cache": "path policy timeout-sec max-eviction max-size-mb high-threshold low-threshold create-empty-file "
    "allow-non-empty-temp cleanup-on-start policy-trace offload-io empty-dir-check sync-to-flush ignore-sync "
    "refresh-sec hard-limit",
    "block_cache": "block-size-mb mem-size-mb path disk-size-mb disk-timeout-sec prefetch parallelism "
    "prefetch-on-open consistency cleanup-on-start",
    "attr_cache": "timeout-sec no-cache-on-list no-symlinks max-size-mb",
    "entry_cache": "timeout-sec",
    "azstorage": "type tier block-size-mb max-concurrency block-list-on-mount-sec max-retries max-retry-timeout-sec "
    "retry-backoff-sec max-retry-delay-sec http-proxy https-proxy fail-unsupported-op auth-resource update-md5 "
    "validate-md5 virtual-directory max-results-for-list disable-compression telemetry honour-acl preserve-acl "
    "cap-mbps-read cap-iops ca-cert-file aadendpoint",
}


def _named(sections: Mapping[str, str]) -> frozenset[str]:
    """`section.key` for every key of every section."""
    return frozenset(f"{section}.{key}".lstrip(".") for section, keys in sections.items() for key in keys.split())


KEYS = _named(_SECTIONS)
# What says which container and with what credential is decided by the URI and the environment, never by an override.
_OURS = frozenset(
    f"azstorage.{key}"
    for key in [
        "account-name",
        "account-key",
        "sas",
        "appid",
        "resid",
        "objid",
        "tenantid",
        "clientid",
        "clientsecret",
        "oauth-token-path",
        "use-http",
        "mode",
        "workload-identity-token",
        "endpoint",
        "container",
        "subdirectory",
        "user-assertion",
        "cpk-encryption-key",
    ]
)
# blobfuse2 empties these folders, whatever else is in them.
_FOLDERS = frozenset({"file_cache.path", "block_cache.path"})
_NUMBER = re.compile(r"-?[0-9]{1,12}")
# What kind of value a key wants, by the types of its fields in the source; all others want numbers.
_FLAG_KEYS: dict[str, str] = {
    "": "allow-other allow-root disable-kernel-cache nonempty read-only lazy-write direct-io",
    "logging": "goroutine-id track-time compress",
    "libfuse": "fuse-trace disable-writeback-cache ignore-open-flags direct-io",
    "file_cache": "create-empty-file allow-non-empty-temp cleanup-on-start policy-trace offload-io empty-dir-check "
    "sync-to-flush ignore-sync hard-limit",
    "block_cache": "prefetch-on-open consistency cleanup-on-start",
    "attr_cache": "no-cache-on-list no-symlinks",
    "azstorage": "fail-unsupported-op update-md5 validate-md5 virtual-directory disable-compression honour-acl "
    "preserve-acl",
}
_TEXT_KEYS: dict[str, str] = {
    "": "wait-for-mount",
    "libfuse": "extension",
    "azstorage": "type http-proxy https-proxy auth-resource telemetry ca-cert-file aadendpoint",
}
_FLAGS, _TEXTS = _named(_FLAG_KEYS), _named(_TEXT_KEYS)
_WORDS: dict[str, str] = {
    "logging.type": "base syslog silent",
    "logging.level": "log_off log_crit log_err log_warning log_info log_trace log_debug",
    "file_cache.policy": "lru",
    "azstorage.tier": "hot cool cold archive premium p4 p6 p10 p15 p20 p30 p40 p50 p60 p70 p80",
}
# Texts, so that a fraction stays what it is: `file_cache.max-size-mb` takes one.
_COUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def parse_override(text: str) -> tuple[str, Value]:
    """`section.key=value` as a key and a value of its kind; UsageError for an unknown key or one that is not yours."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is no setting", next_step="--set block_cache.prefetch=16")
    return check_override(key.strip(), _value(value.strip()))


def _value(text: str) -> Value:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if _NUMBER.fullmatch(text) else text


def check_override(key: str, value: Any) -> tuple[str, Value]:
    """The pair when it may be set; UsageError with the nearest key otherwise."""
    if key in _OURS:
        raise UsageError(
            f"{key} cannot be set",
            cause="the URI says which container, the environment what opens it",
            next_step="azray mount -h",
        )
    if key in _FOLDERS:
        raise UsageError(
            f"{key} cannot be set", cause="blobfuse2 empties that folder",
            next_step="--cache FOLDER, below which a mount has a place of its own",
        )  # fmt: skip
    if key not in KEYS:
        raise UsageError(f"blobfuse2 has no setting {key!r}.{nearest(key, KEYS)}", next_step="azray mount --explain")
    if wanted := _wanted(key, value):
        raise UsageError(
            f"{key} cannot be {_text(value)!r}", cause=f"it wants {wanted}", next_step="azray mount --explain",
        )  # fmt: skip
    return key, value


def _wanted(key: str, value: Any) -> str:
    """What that key wants, when `value` is not it; empty when it is."""
    if key in _FLAGS:
        return "" if isinstance(value, bool) else "true or false"
    if key in _WORDS:
        words = _WORDS[key].split()
        return "" if str(value).lower() in words else f"one of {', '.join(words)}"
    if key in _TEXTS:
        return "" if isinstance(value, str) else "a text"
    number = not isinstance(value, bool) and _COUNT.fullmatch(str(value))
    return "" if number else "a number, 0 or more"


def check_layers(overrides: Mapping[str, Value], layers: Iterable[str]) -> None:
    """UsageError for a setting of a layer that the mount does not have, which blobfuse2 would not look at."""
    caches = {"file_cache", "block_cache", "xload"}
    for key in overrides:
        section = key.partition(".")[0]
        if section in caches and section not in layers:
            there = next(iter(caches & set(layers)), "none")
            raise UsageError(
                f"{key} has no effect here",
                cause=f"the cache of this mount is {there}",
                next_step="azray mount --explain, or another --profile",
            )


def overridden(settings: Iterable[Setting], overrides: Mapping[str, Value]) -> list[Setting]:
    """`settings` with the user's values in place of ours, and those that we do not set behind them."""
    left = dict(check_override(key, value) for key, value in overrides.items())
    out = [
        Setting(s.key, left.pop(s.key), f"asked for; ours is {_text(s.value)}") if s.key in left else s
        for s in settings
    ]
    return [*out, *(Setting(key, value, "asked for") for key, value in left.items())]


def document(
    settings: Iterable[Setting], layers: Iterable[str], service: Mapping[str, Value], log: str, work: str
) -> dict[str, Any]:
    """The whole configuration as a mapping.

    `service` says where the container is and how it is opened, `log` is the log's file, `work` blobfuse2's own folder
    for process ids.
    """
    out: dict[str, Any] = {
        "foreground": False,
        "default-working-dir": work,
        "components": list(layers),
        "logging": {"type": "base", "level": "log_warning", "file-path": log, "max-file-size-mb": 8, "file-count": 2},
    }
    for setting in settings:
        section, dot, key = setting.key.rpartition(".")
        (out.setdefault(section, {}) if dot else out)[key] = setting.value
    out.setdefault("azstorage", {}).update(service)
    return out


def render(content: Mapping[str, Any]) -> str:
    """The configuration as YAML."""
    import yaml

    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
