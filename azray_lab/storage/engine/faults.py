"""What a Blob service refuses, as our errors: the cause in the service's own word, and the step that mends it.

Status and codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from azray_lab.errors import AzRayError, BlobNotFoundError, CredentialError, StorageError
from azray_lab.storage.engine.model import http_date

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account
    from azray_lab.storage.engine.connections import Answer

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,80})</Code>")
_DETAIL = re.compile(rb"<AuthenticationErrorDetail>([^<]+)")
# What the service quotes of a request: its signature, and the text that was to be signed, which has many lines.
_QUOTED = re.compile(r"'[^']*'|\b(?:Server used following )?string to sign.*", re.IGNORECASE)
_LONGEST = 300
# The service accepts requests whose date is within 15 minutes of its own; one less, for the way takes time.
_SKEW_SECONDS = 14 * 60.0


def code_of(answer: Answer) -> str:
    """The service's word for what went wrong, such as `BlobNotFound`; empty when it gives none."""
    if code := answer.headers.get("x-ms-error-code"):
        return code
    found = _CODE.search(answer.body[:4000])
    return found[1].decode() if found else ""


def hopeful(answer: Answer) -> bool:
    """Whether the same request may succeed a little later."""
    return answer.status in RETRIED and code_of(answer) != _UNKNOWN


def refusal(answer: Answer, place: str, account: Account) -> AzRayError:
    """The error for an answer of status 400 or more about `place`, a URI without signature."""
    code = code_of(answer) or f"HTTP {answer.status}"
    facts: dict[str, Any] = {
        "status": answer.status,
        "code": code,
        "request_id": answer.headers.get("x-ms-request-id"),
        "uri": place,
    }
    # Every answer of a Blob service names its request; proxies and web servers do not.
    if "x-ms-request-id" not in answer.headers and answer.status not in RETRIED:
        reason = f"{answer.status} {code} came from something else"
        return StorageError(f"{place} is on no Blob service", cause=reason, next_step=check_address(account), **facts)
    if answer.status in {401, 403}:
        return _unauthorised(answer, place, account, code, facts)
    if answer.status == 404:  # noqa: PLR2004 - HTTP
        return missing(place, code, account, facts)
    return _other(answer.status, place, code, account, facts)


def _unauthorised(answer: Answer, place: str, account: Account, code: str, facts: dict[str, Any]) -> CredentialError:
    service = http_date(answer.headers.get("date", ""))
    skew = 0.0 if service is None else time.time() - service.timestamp()
    if abs(skew) > _SKEW_SECONDS:
        return CredentialError(
            f"{place} may not be accessed: this machine's clock is wrong",
            cause=f"it is {abs(skew) / 60:.0f} minutes {'ahead of' if skew > 0 else 'behind'} the service's ({code})",
            next_step="sudo timedatectl set-ntp true",
            skew_seconds=round(skew),
            **facts,
        )
    from azray_lab.storage.credentials.refusals import mending  # loads more than the engine

    detail = detail_of(answer)
    return CredentialError(
        f"{place} may not be accessed with {account.opener}",
        cause=f"the service answered {answer.status} {code}{f': {detail}' if detail else ''}",
        next_step=mending(account, answer.status, code),
        mode=account.mode,
        **facts,
    )


def detail_of(answer: Answer) -> str:
    """Why the service refused who asked, in its own words but for what it quotes; empty when it does not say."""
    import html  # as below: for errors only

    found = _DETAIL.search(answer.body[:8000])
    text = " ".join(html.unescape(found[1].decode(errors="replace")).split()) if found else ""
    return _QUOTED.sub("...", text)[:_LONGEST].rstrip(" .")


def missing(place: str, code: str, account: Account, facts: dict[str, Any]) -> BlobNotFoundError:
    """The error for a container or blob that is not there, with the command that lists what is."""
    container = container_of(place, account)
    if code == "ContainerNotFound":
        step = f"azray blob ls {_above(place, account)}, or make it: azray blob mb {container}"
        return BlobNotFoundError(f"there is no container {container}", next_step=step, **facts)
    return BlobNotFoundError(f"there is no blob {place}", next_step=f"azray blob ls {container}", **facts)


# How Azurite says that it does not know a header, with status 500.
_UNKNOWN = "FeatureNotSupported"
# What the service, and we, call bytes that are not those which were sent.
DAMAGED = frozenset({"Md5Mismatch", "Crc64Mismatch", "Damaged"})
_KNOWN = {
    409: ("is in use or in another state", "try again; `azray blob ls` shows what is there"),
    412: ("changed while it was being read or written", "do it again"),
    416: ("is shorter than what was asked for", "do it again: the blob changed"),
    429: ("is throttled by the service", "try again later, or with fewer processes"),
    500: ("met an error inside the service", "try again later"),
    503: ("is throttled by the service", "try again later, or with fewer processes"),
}


# What is known better by the code than by the status. {blob} is the blob as arguments of `az storage blob`.
_BY_CODE = {
    "BlobArchived": ("is archived", "az storage blob set-tier --tier Hot {blob} (it takes hours)"),
    "BlobBeingRehydrated": (
        "is on its way out of the archive",
        "wait: az storage blob show {blob} (rehydrationStatus)",
    ),
    "BlobImmutableDueToPolicy": (
        "may not be changed or removed: an immutability policy or a legal hold protects it",
        "write to another name; az storage blob show {blob} says until when",
    ),
    "InvalidBlobType": ("is a page or append blob", "remove it first (azray blob rm), or write to another name"),
    "InvalidBlockList": ("was written by somebody else at the same time", "do it again, when the other one is done"),
    "PendingCopyOperation": ("is the target of a copy that is not done", "wait: az storage blob show {blob}"),
    "ContainerBeingDeleted": ("is being removed", "wait half a minute, then make the container again"),
}


def _other(status: int, place: str, code: str, account: Account, facts: dict[str, Any]) -> StorageError:
    words, step = _KNOWN.get(status, ("cannot be used", "see the code in Azure's list of Blob service errors"))
    if code in _BY_CODE:
        words, step = _BY_CODE[code]
        step = step.replace("{blob}", _as_arguments(place, account))
    if code.startswith("Lease"):
        words, step = "has a lease that somebody else holds", "wait until it ends, or break it in the portal"
    if code in DAMAGED:
        words, step = "arrived damaged at the service", "copy it again"
    if code == _UNKNOWN:
        words, step = "was not done: the service lacks something that was asked for", "for checksums: --check md5"
    return StorageError(f"{place} {words}", cause=f"the service answered {status} {code}", next_step=step, **facts)


def silent(error: BaseException, account: Account) -> StorageError:
    """The error for an endpoint with which no request could be made to its end, after the last try."""
    import ssl

    words, step = "does not answer", check_address(account)
    # Somebody was there, and left.
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError)):
        words, step = "breaks off its answers", "try again later; if it stays so, ask who runs the network or a proxy"
    return StorageError(
        f"{account.endpoint} {words}",
        cause=" ".join(str(error).split()) or type(error).__name__,
        next_step=step,
        endpoint=account.endpoint,
    )


def changed(place: str, reason: str) -> StorageError:
    """The error for a blob that was overwritten between two reads of it."""
    return StorageError(f"{place} changed while it was being read", cause=reason, next_step="copy it again", uri=place)


def damaged(place: str, cause: str) -> StorageError:
    """The error for bytes that are not those of the other end."""
    step = "copy it again; if it stays so, the blob was damaged when it was written"
    return StorageError(f"{place} arrived damaged", cause=cause, next_step=step, uri=place, code="Damaged")


def unchecked(place: str, kind: str) -> StorageError:
    """The error for a service that ignores the checksum that was asked for."""
    other = "md5" if kind == "CRC64" else "crc64"
    step = f"compare another checksum: --check {other}, or check={other!r} in Python"
    return StorageError(f"{place} was not checked", cause=f"the service told no {kind}", next_step=step, uri=place)


def check_address(account: Account) -> str:
    """The step when nothing good is at the account's address."""
    if "the URI" in account.source:
        return "check the address"
    return f"check the address in {account.source}"


def container_of(place: str, account: Account) -> str:
    """The container of the URI `place`, as a URI."""
    above = _above(place, account)
    return above + place[len(above) :].partition("/")[0]


def _as_arguments(place: str, account: Account) -> str:
    import shlex  # half a millisecond of the import, for errors only

    above = _above(place, account)
    container, _, name = place[len(above) :].partition("/")
    name = name if above == "az://" else unquote(name)
    return f"--account-name {account.name} --container-name {container} --name {shlex.quote(name)}"


def _above(place: str, account: Account) -> str:
    return "az://" if place.startswith("az://") else f"{account.endpoint}/"
