"""What is read of others: the kernel's table of mounts, and what blobfuse2 says when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.errors import BlobNotFoundError, CredentialError, MountError, StorageError, UnsupportedError
from azray_lab.storage.blobfuse import causes, mountinfo

LINE = "42 27 0:39 / {path} ro,nosuid,nodev,relatime - fuse blobfuse2 rw,user_id=0,group_id=0,max_read=1048576"
_paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30).map("/mnt/{}".format)


def escaped(path: str) -> str:
    """A path as the kernel writes it (mangle_path in fs/seq_file.c)."""
    out = path.encode().decode("latin-1")
    for character in "\\ \t\n":
        out = out.replace(character, f"\\{ord(character):03o}")
    return out


@given(_paths)
def test_any_path_is_read_as_it_is(path: str):
    """Blanks, backslashes, newlines and any Unicode survive the table's octal escapes."""
    [found] = mountinfo.parse(LINE.format(path=escaped(path)))
    assert (found.path, found.minor, found.blobfuse, found.read_only) == (path, 39, True, True)


def test_the_uppermost_mount_counts_and_half_lines_do_not(tmp_path: Path):
    """Of two mounts at one path the later one is seen; what is no line of the table is left out."""
    table = tmp_path / "mountinfo"
    table.write_text("junk\n1 2 0:3 / /a rw - ext4 /dev/sda rw\n" + LINE.format(path="/a") + "\n4 5 0:6 / /b")
    there = mountinfo.at("/a", table)
    assert there is not None
    assert there.blobfuse
    assert mountinfo.at("/b", table) is None


def test_the_real_table_can_be_read():
    """The kernel's own table has the root."""
    assert mountinfo.at("/") is not None


# What blobfuse2 2.5.6 and others printed, word for word.
_PIPELINE = "Error: failed to initialize new pipeline [failed to authenticate azstorage credentials with error [{}]]\n"
SAID = [
    (_PIPELINE.format("BlockBlob::TestPipeline : [AuthorizationFailure]"), CredentialError, "refused"),
    (_PIPELINE.format("BlockBlob::TestPipeline : [ContainerNotFound]"), BlobNotFoundError, "no such container"),
    (
        "Error: failed to initialize new pipeline [decode account key: illegal base64 data at input byte 0]\n",
        CredentialError, "the account's key is no key",
    ),
    (
        _PIPELINE.format('Get "https://x.invalid/data?comp=list&sig=abc": dial tcp: lookup x.invalid: no such host'),
        StorageError, "there is no such host",
    ),
    (
        _PIPELINE.format('Get "http://127.0.0.1:9/a/data": dial tcp 127.0.0.1:9: connect: connection refused'),
        StorageError, "does not answer",
    ),
    ("Error: mount directory is not empty\n", MountError, "the folder is not empty"),
    ("Error: mount directory does not exist\n", MountError, "the folder is not there"),
    ("Error: directory is already mounted\n", MountError, "something is mounted there"),
    ("fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n", MountError,
     "other users may not be let in"),
    ("fuse: device not found, try 'modprobe fuse' first\n", UnsupportedError, "there is no /dev/fuse"),
    ("fusermount3: mount failed: Operation not permitted\n", UnsupportedError, "this user may not mount"),
    ('Error: exec: "fusermount3": executable file not found in $PATH\n', UnsupportedError, "fusermount3 is not"),
    ("blobfuse2: error while loading shared libraries: libfuse3.so.3: cannot open shared object file\n",
     UnsupportedError, "libfuse3 is not installed"),
    (
        _PIPELINE.format(
            "ClientSecretCredential authentication failed. \nPOST https://login.microsoftonline.com/t/oauth2/v2.0/token\n"
            '----\nRESPONSE 401: 401 Unauthorized\n----\n{\n  "error": "invalid_client",\n  "error_description": '
            '"AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2"\n}\n----\nTo troubleshoot'
        ),
        CredentialError,
        "ClientSecretCredential authentication failed: AADSTS7000215: Invalid client secret provided. Next",
    ),
    (_PIPELINE.format("ManagedIdentityCredential authentication failed"), CredentialError, "no token was given"),
    ("Error: failed to initialize new pipeline [config error in file_cache [temp directory not empty]]\n", MountError,
     "the cache folder is not empty"),
    (_PIPELINE.format("[ServerBusy]"), StorageError, "in trouble: ServerBusy. Next: azray blob ls az://data, and"),
    (_PIPELINE.format("[ContainerBeingDeleted]"), StorageError, "is being deleted: ContainerBeingDeleted. Next: wait"),
    (_PIPELINE.format("[AccountIsDisabled]"), StorageError, "disabled it: AccountIsDisabled. Next: az storage account"),
    (
        (
            "Error: failed to initialize new pipeline [config error in file_cache [config error: unmarshalling [decod"
            "ing failed due to the following error(s):\n\n"
            "'timeout-sec' cannot parse value as 'uint32': invalid syntax]]]\n"
        ),
        MountError, "error(s): 'timeout-sec' cannot parse value as 'uint32': invalid syntax]]. Next: azray mount --e",
    ),
    ("Error: something new [of a later version]\n", MountError, "something new [of a later version]"),
    ("", MountError, "blobfuse2 ended with code 1"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind", "words"), SAID)
def test_what_blobfuse2_says_becomes_the_error_that_fits(said: str, kind: type, words: str):
    """One line with the place, our words, its reason and what mends it; a signature is never part of it."""
    debug = "Sat Nov 21 05:35:46.907 UTC 2026 : blobfuse2[1] : [] LOG_DEBUG [custom.go (54)]: No plugins to load.\n"
    error = causes.failure("az://data", "/mnt/data", debug + said, 1)
    assert type(error) is kind
    text = str(error)
    assert words in text
    assert text.startswith("az://data cannot be mounted at /mnt/data")
    assert "\n" not in text
    assert "sig=abc" not in text
    assert "LOG_DEBUG" not in text
    assert error.facts["path"] == "/mnt/data"


def test_a_loader_that_finds_nothing_ends_with_127():
    """The code alone says that the library is missing when nothing was printed."""
    assert isinstance(causes.failure("az://data", "/mnt/data", "", 127), UnsupportedError)


def test_errors_of_the_log_are_counted_without_the_noise(tmp_path: Path):
    """Lines of errors count, what a start always says does not, and there may be no log."""
    log = tmp_path / "log"
    assert causes.log_errors(log) == []
    start = "Sat Nov 21 05:35:54 UTC 2026 : blobfuse2[1] : [/m] "
    log.write_text(
        f"{start}LOG_CRIT [mount.go (479)]: Starting Blobfuse2 Mount : 2.5.6 on [Debian]\n"
        f"{start}LOG_CRIT [config.go (538)]: ParseAndValidateConfig : fail-unsupported-op true, error x\n"
        f"{start}LOG_WARNING [x.go (1)]: failed in passing\n"
        f"{start}LOG_ERR [block_blob.go (9)]: BlockBlob::ReadBuffer : Failed to download blob a [sig=abc timeout]\n"
    )
    assert causes.log_errors(log) == ["BlockBlob::ReadBuffer : Failed to download blob a [sig=*** timeout]"]


def test_an_answer_without_a_code_is_told_by_its_status(tmp_path: Path):
    """A bare 503 leaves no word in what blobfuse2 prints; its log has the status, among lines on credentials."""
    log = tmp_path / "log"
    start = "Sat Nov 21 13:58:49.721 UTC 2026 : blobfuse2[1] : [/m] LOG_ERR "
    hollow = "[failed to authenticate azstorage credentials with error [BlockBlob::TestPipeline : []]]"
    log.write_text(
        f"{start}[block_blob.go (217)]: BlockBlob::TestPipeline : Failed to validate account with given auth GET "
        "http://127.0.0.1:1/a/data\n----------\nRESPONSE 503: 503 Server Busy\nERROR CODE UNAVAILABLE\n----------\n"
        f"{start}[azstorage.go (171)]: AzStorage::configureAndTest : Failed to validate credentials "
        "[BlockBlob::TestPipeline : []]\n"
        f"{start}[mount.go (514)]: mount : failed to initialize new pipeline {hollow}\n"
    )
    assert causes.plain(f"Error: failed to initialize new pipeline {hollow}\n") == ""
    [said] = causes.log_errors(log)
    error = causes.failure("az://data", "/mnt/data", said, 1)
    assert "is busy or in trouble" in str(error)
    assert "503 Server Busy. Next: azray blob ls az://data, and mount again when it answers" in str(error)
    assert "credential" not in str(error)
