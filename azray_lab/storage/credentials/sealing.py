"""Values that travel through Ray's records and may be read by the cluster's own processes only.

Ray keeps a runtime environment as plain text: in `ray list jobs`, in the dashboard, in runtime_env_agent.log. So what
is secret is encrypted with a key made of the cluster's token, which every node has in a file of mode 0600 and which
ends with the cluster. Whoever can open a seal could as well run a task on the cluster.

AES-SIV (RFC 5297): authenticated, and the same for the same values, so that equal environments stay equal for Ray and
its workers are used again. The key is HMAC-SHA512 of the token. `azray_lab/jobs/runner.py` opens the same seals without
this package; a test holds the two together.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azray_lab.errors import CredentialError
from azray_lab.spec import settings

_LABEL = b"azray-lab seal 1"


def seal(values: Mapping[str, Any], token: str) -> str:
    """`values` (plain JSON) as text that only the holders of `token` can read."""
    text = json.dumps(values, sort_keys=True).encode()
    return base64.urlsafe_b64encode(_cipher(token).encrypt(text, [_LABEL])).decode()


def unseal(text: str, token: str) -> dict[str, Any]:
    """What was sealed; CredentialError when it was sealed for another cluster, or is damaged."""
    from cryptography.exceptions import InvalidTag

    try:
        opened = _cipher(token).decrypt(base64.urlsafe_b64decode(text), [_LABEL])
    except (InvalidTag, ValueError) as error:
        raise CredentialError(
            "the sealed variables cannot be opened here",
            cause="they were sealed for another cluster",
            next_step="call azray_lab.runtime_env() again for this cluster",
        ) from error
    values: dict[str, Any] = json.loads(opened)
    return values


def cluster_token() -> str:
    """The token of the cluster that this process is connected to or runs on; empty when there is none.

    Ray's own variables; `Cluster.connect` sets them, and every process of a cluster has them.
    """
    if token := settings.variable("RAY_AUTH_TOKEN"):
        return token
    path = settings.variable("RAY_AUTH_TOKEN_PATH")
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except OSError:  # the cluster was ended, and its token with it
        return ""


def _cipher(token: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(hmac.digest(token.encode(), _LABEL, hashlib.sha512))
