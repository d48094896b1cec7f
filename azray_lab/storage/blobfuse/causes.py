"""What blobfuse2 says when it fails, as our errors: the one place where its words are read."""

from __future__ import annotations

import re
from pathlib import Path

from azray_lab.errors import (
    AzRayError,
    BlobNotFoundError,
    CredentialError,
    MountError,
    StorageError,
    UnsupportedError,
    without_secrets,
)

_TAIL_BYTES = 64 * 1024
# Entra ID's own reason, many lines below the one that says that something went wrong; without its numbers for support.
_ENTRA = re.compile(r"AADSTS\d+: .*?(?=\s*(?:Trace ID|Correlation ID|\\r|\\n|\"|$))", re.MULTILINE)
# An error's line; below one of the service's answers Azure's SDK has written the status.
_ERROR_LINE = re.compile(
    r"LOG_(?:ERR|CRIT) \[[^\]]*\]: (?P<text>.*(?:[Ff]ail|[Ee]rror|[Uu]nable).*)$"
    r"(?:\n-+\nRESPONSE \d+: (?P<status>\d+ [A-Za-z ]+)$)?",
    re.MULTILINE,
)
_UPLOAD = re.compile(r"FileCache::\w+ : (.*) upload failed \[")
# It repeats, once for each of its layers, that there was an error, where the service gave no code.
_HOLLOW = re.compile(r"\[BlockBlob::TestPipeline : \[\]\]+$")
_CRIT_NOISE = re.compile(r"Starting Blobfuse2|Logging level|Log options|::Configure|ParseAndValidateConfig")
_WRAPPER = re.compile(
    r"^(?:Error: )?(?:failed to initialize new pipeline \[)?"
    r"(?:failed to authenticate azstorage credentials with error \[)?(?:[A-Za-z]+::[A-Za-z]+ : )?"
)
_ACCESS = "check the credential; an identity needs the role Storage Blob Data Contributor (to read: Reader)"
_HOST = "check the account's name in the URI or in AZURE_STORAGE_ACCOUNT_URL"
# (pattern of its words) -> (kind of error, our words, what mends it). The first that fits counts.
_KNOWN: tuple[tuple[str, type[AzRayError], str, str], ...] = (
    (
        r"ContainerNotFound|container.*not.*found|ResourceNotFound",
        BlobNotFoundError, "there is no such container", "azray blob ls az://",
    ),
    (
        r"illegal base64|account key .*(invalid|malformed)",
        CredentialError, "the account's key is no key",
        "check AZURE_STORAGE_CONNECTION_STRING; az storage account keys list --account-name ACCOUNT",
    ),
    (r"AuthenticationFailed", CredentialError, "the credential is refused, or this machine's clock is wrong", _ACCESS),
    (r"Authorization\w*Failure|AuthorizationPermissionMismatch|\b40[13]\b|Forbidden", CredentialError,
     "the credential is refused", _ACCESS),
    (r"AADSTS|(ManagedIdentity|AzureCLI|ClientSecret)Credential|failed to (get|acquire) token|az login|identity",
     CredentialError, "no token was given", "az login, or check the identity"),
    (r"no such host|server misbehaving|Temporary failure in name resolution", StorageError, "there is no such host",
     _HOST),
    (r"connection refused|i/o timeout|no route to host|network is unreachable|context deadline exceeded|EOF$",
     StorageError, "the Blob service does not answer", _HOST),
    (r"directory is not empty|mount directory is not empty", MountError, "the folder is not empty",
     "give another folder"),
    (r"already mounted", MountError, "something is mounted there", "azray unmount PATH"),
    (r"does not exist", MountError, "the folder is not there", "mkdir PATH"),
    (r"user_allow_other", MountError, "other users may not be let in",
     "as root: echo user_allow_other >> /etc/fuse.conf; or without --allow-other"),
    (r"libfuse3?\.so|cannot open shared object|fuse3? (is )?not (installed|found)", UnsupportedError,
     "libfuse3 is not installed", "as root: apt-get install fuse3 (or dnf install fuse3)"),
    (r"fusermount3?.*(not found|no such file)", UnsupportedError, "fusermount3 is not installed",
     "as root: apt-get install fuse3 (or dnf install fuse3)"),
    (r"/dev/fuse|fuse device not found|modprobe fuse|failed to open.*fuse", UnsupportedError,
     "there is no /dev/fuse", "docker run --device /dev/fuse --cap-add SYS_ADMIN, or --engine hydrate"),
    (r"[Oo]peration not permitted|[Pp]ermission denied|EPERM", UnsupportedError, "this user may not mount",
     "docker run --device /dev/fuse --cap-add SYS_ADMIN, or --engine hydrate"),
    (r"ServerBusy|OperationTimedOut|InternalError|\b(429|50[0-4]) [A-Z]", StorageError,
     "the Blob service answers that it is busy or in trouble", "azray blob ls PLACE, and mount again when it answers"),
    (r"ContainerBeingDeleted", StorageError, "the container is being deleted",
     "wait half a minute, make it again by azray blob mb, and mount again"),
    (r"ContainerDisabled|AccountIsDisabled", StorageError, "the account's owner or Azure has disabled it",
     "az storage account show --name ACCOUNT"),
    (r"temp directory not empty", MountError, "the cache folder is not empty", "give --cache another folder"),
    (r"config(uration)? error|invalid (config|log level)", MountError, "blobfuse2 does not take a setting",
     "azray mount --explain, and look at --set"),
    (r"no space left|ENOSPC", StorageError, "the disk of the cache is full", "give --cache a folder on another disk"),
)  # fmt: skip


def failure(place: str, path: str, said: str, code: int | None) -> AzRayError:
    """The error for a mount that failed: what blobfuse2 said, in one line, as the error that fits."""
    line = plain(said)
    if code == 127 and not line:  # noqa: PLR2004 - the dynamic loader's and the shell's "not found"
        line = "libfuse3.so is not installed"
    for pattern, kind, words, step in _KNOWN:
        if re.search(pattern, line):
            return kind(
                f"{place} cannot be mounted at {path}: {words}", cause=line,
                next_step=step.replace("PATH", path).replace("PLACE", place), path=path, uri=place,
            )  # fmt: skip
    cause = line or f"blobfuse2 ended with code {code}"
    return MountError(f"{place} cannot be mounted at {path}", cause=cause, path=path, uri=place)


def plain(said: str) -> str:
    """The line that says why, without blobfuse2's wrapping, brackets and any signature; empty when there is none."""
    lines = [line.strip() for line in said.splitlines()]
    chosen = [line for line in lines if line and "LOG_" not in line and not line.startswith(("Usage:", "Flags:"))]
    first = next((line for line in chosen if line.startswith("Error:")), chosen[0] if chosen else "")
    if first.endswith("):") and first is not chosen[-1]:  # what follows are its parts
        first = f"{first} {'; '.join(chosen[chosen.index(first) + 1 :])}"
    text = _WRAPPER.sub("", first)
    if reason := _ENTRA.search(said):
        text = f"{text.rstrip(' .')}: {reason[0]}"
    while text.endswith("]") and text.count("]") > text.count("["):
        text = text[:-1]
    return without_secrets(text.strip("[] ") if text.startswith("[") else text.strip())


def log_errors(log: Path) -> list[str]:
    """The errors in a mount's log, without times and signatures, the newest last."""
    found = []
    for match in _ERROR_LINE.finditer(tail(log)):
        text, status = match["text"], match["status"]
        if not _CRIT_NOISE.search(text) and not _HOLLOW.search(text):
            found.append(f"{text}: {status}" if status else text)
    return [without_secrets(text) for text in found]


def uploads_failed(log: Path) -> set[str]:
    """The files, by their names below the mount, whose upload has failed by its log's last 64 KiB."""
    return set(_UPLOAD.findall(tail(log)))


def tail(path: Path) -> str:
    """The last 64 KiB of a log; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
