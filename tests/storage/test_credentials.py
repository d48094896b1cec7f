"""Where the storage account and its credential come from; what is missing is named, what is secret stays so."""

from __future__ import annotations

import pytest

from azray_lab.errors import CredentialError, SpecError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse.access import access
from azray_lab.storage.credentials import Account
from azray_lab.storage.credentials.refusals import mending
from azray_lab.storage.engine.signing import signer_for

_KEY = "c2VjcmV0LWtleQ=="
_CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={_KEY};EndpointSuffix=core.windows.net"
_SHORT = BlobUri.parse("az://data/x")


def test_a_connection_string_gives_the_endpoint_and_is_in_no_repr():
    """The account is read from it, and its key is not shown."""
    account = Account.of(_SHORT, {"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION})
    assert account.endpoint == "https://acc.blob.core.windows.net"
    assert _KEY not in repr(account)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AZURE_STORAGE_ACCOUNT_URL", "https://acc.blob.core.windows.net/"), ("AZURE_STORAGE_ACCOUNT", "acc")],
)
def test_an_account_without_a_key_is_opened_by_an_identity(variable: str, value: str):
    """An address or a name alone means DefaultAzureCredential."""
    account = Account.of(_SHORT, {variable: value})
    assert (account.endpoint, account.source) == ("https://acc.blob.core.windows.net", variable)
    credential = account.token_credential()
    assert credential is not None
    credential.close()


def test_nothing_set_names_both_variables():
    """Without an account the error says which variables would give one."""
    with pytest.raises(CredentialError) as caught:
        Account.of(_SHORT, {})
    assert "AZURE_STORAGE_CONNECTION_STRING" in str(caught.value)
    assert "AZURE_STORAGE_ACCOUNT_URL" in str(caught.value)


@pytest.mark.parametrize("text", ["rubbish", f"AccountKey={_KEY}", f"AccountName=;AccountKey={_KEY}", ";;;="])
def test_a_broken_connection_string_is_not_quoted(text: str):
    """The error tells which variable is wrong and never its content."""
    with pytest.raises(CredentialError) as caught:
        Account.of(_SHORT, {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert _KEY not in str(caught.value)
    assert "AZURE_STORAGE_CONNECTION_STRING" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "cause", "step"),
    [("acc.blob.core.windows.net", "does not begin with https://", "=https://acc.blob.core.windows.net"),
     ("https://acc.blob.core.windows.net/data/", "names a container", "=https://acc.blob.core.windows.net"),
     ("http://127.0.0.1:1/acc/data?sig=s3cret", "names a container", "=http://127.0.0.1:1/acc"),
     ("https://bad_host/", "is no host name", "=https://ACCOUNT"), ("http://127.0.0.1:1", "names no account", "=https://")],
)  # fmt: skip
def test_what_is_no_accounts_address_is_told(url: str, cause: str, step: str):
    """The variable, what is wrong with it, and what it should be; without the signature behind it."""
    with pytest.raises(CredentialError, match="AZURE_STORAGE_ACCOUNT_URL is no account's address") as caught:
        Account.of(BlobUri.parse("az://data"), {"AZURE_STORAGE_ACCOUNT_URL": url})
    assert cause in caught.value.cause
    assert f"export AZURE_STORAGE_ACCOUNT_URL{step}" in caught.value.next_step
    assert "s3cret" not in str(caught.value)


def test_an_accounts_address_in_any_form_is_the_same():
    """Case, the port that https has anyway, a slash, the `dfs` host: one endpoint, which a key opens by either name."""
    for url in ("HTTPS://ACC.dfs.core.windows.net:443/", "https://acc.blob.core.windows.net"):
        environ = {"AZURE_STORAGE_ACCOUNT_URL": url, "AZURE_STORAGE_KEY": _KEY}
        assert Account.of(BlobUri.parse("az://data"), environ).endpoint == "https://acc.blob.core.windows.net"


def test_a_uris_own_account_wins_over_the_environments():
    """A key is only used for the account it belongs to."""
    environ = {"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION}
    own = Account.of(BlobUri.parse("https://acc.blob.core.windows.net/data"), environ)
    other = Account.of(BlobUri.parse("https://other.blob.core.windows.net/data"), environ)
    assert own.connection_string == _CONNECTION
    assert other.connection_string == ""
    assert other.endpoint == "https://other.blob.core.windows.net"


def test_a_signature_in_the_uri_is_what_opens_it():
    """A SAS wins over the environment, even for the same account."""
    uri = BlobUri.parse("https://acc.blob.core.windows.net/data?sig=s3cret")
    account = Account.of(uri, {"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION})
    assert account.sas == "sig=s3cret"
    assert "s3cret" not in repr(account)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:10000/devstoreaccount1/data", "http://acc.example.com/data"])
def test_a_token_never_travels_over_plain_http(uri: str):
    """An address without TLS and without a key is refused before any request."""
    with pytest.raises(CredentialError, match="plain http"):
        Account.of(BlobUri.parse(uri), {}).token_credential()
    with pytest.raises(CredentialError, match="plain http"):
        Account.of(BlobUri.parse(uri), {"AZURE_STORAGE_AUTH_MODE": "default"})


def test_an_account_that_is_no_name_is_refused():
    """A whole address in AZURE_STORAGE_ACCOUNT is told apart from a name."""
    with pytest.raises(CredentialError, match="AZURE_STORAGE_ACCOUNT is no account's name"):
        Account.of(_SHORT, {"AZURE_STORAGE_ACCOUNT": "https://acc"})


_ACCOUNT = {"AZURE_STORAGE_ACCOUNT": "acc"}


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({"AZURE_STORAGE_CONNECTION_STRING": _CONNECTION, "AZURE_STORAGE_KEY": "a2V5"}, "connection_string"),
        ({"AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_SAS_TOKEN": "sig=s", **_ACCOUNT}, "account_key"),
        ({"AZURE_STORAGE_SAS_TOKEN": "?sig=s", "AZURE_CLIENT_ID": "x", **_ACCOUNT}, "sas"),
        ({"AZURE_STORAGE_ACCOUNT_URL": "https://acc.blob.core.windows.net?sig=s"}, "sas"),
        ({"AZURE_CLIENT_ID": "x", **_ACCOUNT}, "default"),
        ({"AZURE_STORAGE_AUTH_MODE": "Anonymous", "AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}, "anonymous"),
        ({"AZURE_STORAGE_AUTH_MODE": "CLI", "AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}, "cli"),
        ({"AZURE_STORAGE_AUTH_MODE": "account-key", "AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}, "account_key"),
        ({"AZURE_STORAGE_AUTH_MODE": "login", "AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}, "cli"),
        ({"AZURE_STORAGE_AUTH_MODE": "key", "AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}, "account_key"),
    ],
)  # fmt: skip
def test_the_order_and_the_choice(environ: dict[str, str], mode: str):
    """Connection string, key, signature, identity; a mode that is named wins over all of them."""
    account = Account.of(_SHORT, environ)
    assert (account.mode, account.name) == (mode, "acc")
    assert account.chosen == ("AZURE_STORAGE_AUTH_MODE" in environ or mode != "default")
    again = Account.of(_SHORT, account.environment())
    assert (again.endpoint, again.mode, again.key, again.sas) == (
        account.endpoint,
        account.mode,
        account.key,
        account.sas,
    )


def test_a_wrong_mode_lists_the_modes():
    """The error names all nine, and the nearest."""
    with pytest.raises(CredentialError) as caught:
        Account.of(_SHORT, {"AZURE_STORAGE_AUTH_MODE": "manged_identity", **_ACCOUNT})
    assert "Did you mean 'managed_identity'?" in str(caught.value)
    assert len(caught.value.facts["modes"]) == 9
    assert all(mode in caught.value.cause for mode in caught.value.facts["modes"])


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("connection_string", "AZURE_STORAGE_CONNECTION_STRING"),
        ("account_key", "AZURE_STORAGE_KEY"),
        ("sas", "AZURE_STORAGE_SAS_TOKEN"),
        ("service_principal", "AZURE_TENANT_ID and AZURE_CLIENT_ID"),
        ("workload_identity", "AZURE_FEDERATED_TOKEN_FILE"),
    ],
)
def test_a_chosen_mode_that_lacks_a_part_names_it(mode: str, names: str):
    """No other credential is taken in its place."""
    with pytest.raises(CredentialError, match=names):
        Account.of(_SHORT, {"AZURE_STORAGE_AUTH_MODE": mode, **_ACCOUNT})


_SAS = {"AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=s3cret"}


@pytest.mark.parametrize(
    ("uri", "step"),
    [
        ("https://acc.blob.core.windows.net/data", "export AZURE_STORAGE_ACCOUNT=acc,"),
        ("https://somebody.example.com/data", "export AZURE_STORAGE_ACCOUNT_URL=https://somebody.example.com,"),
        ("http://127.0.0.1:10000/acc/data", "export AZURE_STORAGE_ACCOUNT_URL=http://127.0.0.1:10000/acc,"),
    ],
)
def test_a_signature_without_an_account_is_sent_nowhere(uri: str, step: str):
    """Nothing says whose it is, so a URI's host does not get it; the step that says so opens the place."""
    for environ in (_SAS, {"AZURE_STORAGE_AUTH_MODE": "sas", **_SAS}):
        with pytest.raises(CredentialError, match="nothing says which account it opens") as caught:
            Account.of(BlobUri.parse(uri), environ)
        assert step in caught.value.next_step
    name, _, value = step.removeprefix("export ").rstrip(",").partition("=")
    assert Account.of(BlobUri.parse(uri), {name: value, **_SAS}).sas == _SAS["AZURE_STORAGE_SAS_TOKEN"]


def test_a_signature_is_not_sent_to_another_account_or_in_the_clear():
    """Another host gets none of it; plain http is for emulators, which are called by an address or a bare name."""
    mine = {**_SAS, **_ACCOUNT}
    assert Account.of(BlobUri.parse("https://other.blob.core.windows.net/data"), mine).sas == ""
    with pytest.raises(CredentialError, match="plain http"):
        Account.of(BlobUri.parse("http://acc.blob.core.windows.net/data"), mine)
    with pytest.raises(CredentialError, match="plain http"):
        Account.of(_SHORT, {"AZURE_STORAGE_ACCOUNT_URL": "http://acc.example.com", **_SAS})
    for emulator in ("http://127.0.0.1:1/acc", "http://azurite:10000/acc", "http://acc.blob.localhost:1"):
        assert Account.of(_SHORT, {"AZURE_STORAGE_ACCOUNT_URL": emulator, **_SAS}).sas


def test_a_key_is_not_used_for_another_account():
    """A key and a signature belong to the account of the environment; without one, to that of the URI."""
    other = BlobUri.parse("https://other.blob.core.windows.net/data")
    assert Account.of(other, {"AZURE_STORAGE_KEY": "a2V5", **_ACCOUNT}).mode == "default"
    assert Account.of(other, {"AZURE_STORAGE_SAS_TOKEN": "sig=s", **_ACCOUNT}).mode == "default"
    assert Account.of(other, {"AZURE_STORAGE_KEY": "a2V5"}).name == "other"
    with pytest.raises(CredentialError, match="does not open"):
        Account.of(
            other, {"AZURE_STORAGE_AUTH_MODE": "connection_string", "AZURE_STORAGE_CONNECTION_STRING": _CONNECTION}
        )


def test_a_national_cloud_has_its_own_suffix():
    """The account's address follows the authority."""
    environ = {**_ACCOUNT, "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us"}
    assert Account.of(_SHORT, environ).endpoint == "https://acc.blob.core.usgovcloudapi.net"


def test_the_development_string_is_azurites():
    """The short form that Azure's tools know for the emulator."""
    account = Account.from_connection_string("UseDevelopmentStorage=true")
    assert (account.endpoint, account.name) == ("http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1")
    assert "BlobEndpoint=" in account.connection_string


def test_the_specs_modes_are_these():
    """`storage.auth_mode` of a spec takes the nine modes in any case."""
    from azray_lab.spec.models import ClusterSpec
    from azray_lab.storage.credentials import MODES

    for mode in MODES:
        spec = ClusterSpec.load({"storage": {"auth_mode": mode.upper()}})
        assert spec.storage.auth_mode == mode
    with pytest.raises(SpecError, match="connection_string"):
        ClusterSpec.load({"storage": {"auth_mode": "password"}})


@pytest.mark.parametrize(
    ("environ", "status", "code", "words"),
    [
        ({"AZURE_STORAGE_KEY": "a2V5"}, 403, "AuthenticationFailed", "keys list --account-name acc"),
        ({"AZURE_STORAGE_KEY": "a2V5"}, 403, "KeyBasedAuthenticationNotPermitted", "AUTH_MODE=default"),
        ({"AZURE_STORAGE_KEY": "a2V5"}, 403, "AuthorizationFailure", "networkRuleSet"),
        ({"AZURE_STORAGE_SAS_TOKEN": "sig=s"}, 403, "AuthenticationFailed", "generate-sas"),
        ({"AZURE_STORAGE_AUTH_MODE": "anonymous"}, 403, "NoAuthenticationInformation", "it is private"),
        ({"AZURE_STORAGE_AUTH_MODE": "cli", "AZURE_TENANT_ID": "t"}, 401, "InvalidAuthenticationInfo", "--tenant t"),
        ({"AZURE_STORAGE_AUTH_MODE": "managed_identity", "AZURE_CLIENT_ID": "id"}, 403,
         "AuthorizationPermissionMismatch", "--role 'Storage Blob Data Contributor' --assignee id"),
    ],
)  # fmt: skip
def test_what_mends_a_refusal_of_the_service(environ: dict[str, str], status: int, code: str, words: str):
    """Each way in has its own command."""
    assert words in mending(Account.of(_SHORT, {**_ACCOUNT, **environ}), status, code)


def test_an_account_behind_a_name_of_its_own_is_called_as_its_connection_string_says():
    """A custom domain does not tell the account's name, which a key's signature and blobfuse2 need."""
    text = f"AccountName=acc;AccountKey={_KEY};BlobEndpoint=https://data.example.org"
    account = Account.of(_SHORT, {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert (account.name, access(account, {}).settings["account-name"]) == ("acc", "acc")
    assert signer_for(account).store_options()["config"]["account_name"] == "acc"
