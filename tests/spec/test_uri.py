"""Blob URIs: all ways to write a place, one value; what is wrong is refused, and a signature is never shown."""

from __future__ import annotations

import copy
import pickle
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SUFFIXES = ("core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net")
_containers = st.lists(st.text(_LETTERS, min_size=3, max_size=9), min_size=1, max_size=4).map("-".join)
# `anonymous@` is the hint in every form, so a container of that name is written as an address.
_containers_by_user = _containers.filter(lambda name: name != "anonymous")
_paths = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(
    lambda path: not {".", ".."} & set(path.split("/")) and "sig=" not in path.lower()
)
_accounts = st.text(_LETTERS, min_size=3, max_size=24).filter(lambda name: name != "localhost")
_endpoints = st.sampled_from(
    ["", "https://account.blob.core.windows.net", "http://127.0.0.1:10000/devstoreaccount1", "http://localhost:1/a",
     "https://account.blob.core.chinacloudapi.cn", "https://account.z01.blob.storage.azure.net", "http://[::1]:1/abc",
     "https://data.example.org:8443"]
)  # fmt: skip
_uris = st.builds(BlobUri, _containers, _paths, _endpoints, anonymous=st.booleans())


@given(_uris)
def test_a_rendered_uri_parses_to_itself(uri: BlobUri):
    """Whatever characters a name has, its canonical form means the same place, opened in the same way."""
    again = BlobUri.parse(str(uri))
    assert (again, again.anonymous, str(again)) == (uri, uri.anonymous, str(uri))


@given(_containers_by_user, _paths, _accounts, st.sampled_from(_SUFFIXES))
@example("data", "100%25?x#y", "acc", "core.windows.net")
def test_every_spelling_of_a_place_is_the_same_place(container: str, path: str, account: str, suffix: str):
    """Hadoop's two forms, Ray LLM's, the anonymous one and the address, on both hosts, give one value."""
    blob, dfs = f"{account}.blob.{suffix}", f"{account}.dfs.{suffix}"
    encoded = quote(path, safe="/")
    spellings = [
        *(f"{scheme}://{container}@{host}/{path}"
          for scheme in ("abfs", "abfss", "wasb", "wasbs", "azure", "az", "AZURE")
          for host in (blob, dfs, blob.upper())),
        *(f"{scheme}://anonymous@{blob}/{container}/{path}" for scheme in ("azure", "abfss", "az")),
        *(f"{scheme}://{host}/{container}/{encoded}" for scheme in ("https", "HTTPS")
          for host in (blob, dfs, f"{blob}:443", f"anonymous@{blob}")),
    ]  # fmt: skip
    wanted = BlobUri(container, path, f"https://{blob}")
    for spelling in spellings:
        found = BlobUri.parse(spelling)
        assert found == wanted
        assert hash(found) == hash(wanted)
        assert (found.account, str(found).replace("anonymous@", "")) == (account, str(wanted))
        assert found.anonymous == ("anonymous@" in spelling)


@given(_containers_by_user, _paths, _accounts)
def test_every_spelling_on_an_emulator(container: str, path: str, account: str):
    """The account is in the path behind an IP address and a bare name, in every form."""
    wanted = BlobUri(container, path, f"http://127.0.0.1:10000/{account}")
    for spelling in (
        f"abfs://{container}@127.0.0.1:10000/{account}/{path}",
        f"azure://anonymous@127.0.0.1:10000/{account}/{container}/{path}",
        f"http://127.0.0.1:10000/{account}/{container}/{quote(path)}",
    ):
        assert BlobUri.parse(spelling) == wanted
    assert wanted.account == account


@given(_containers, _paths)
def test_every_spelling_without_an_account(container: str, path: str):
    """Short forms and Ray's take the account from the environment; `anonymous@` there is the hint, not a container."""
    wanted = BlobUri(container, path)
    for scheme in ("az", "abfs", "abfss", "azure", "wasb", "wasbs"):
        assert BlobUri.parse(f"{scheme}://{container}/{path}") == wanted
        hinted = BlobUri.parse(f"{scheme}://anonymous@{container}/{path}")
        assert (hinted, hinted.anonymous) == (wanted, True)


def test_a_container_called_anonymous():
    """It has an address and a short form; before an @ the word is the hint."""
    address = "https://acc.blob.core.windows.net/anonymous/x"
    assert str(BlobUri.parse(address)) == address
    assert BlobUri.parse("az://anonymous/x").container == "anonymous"
    assert BlobUri.parse("abfss://anonymous@acc.dfs.core.windows.net/data/x").container == "data"


def test_an_account_named_without_its_cloud():
    """`container@account` is that account on the public cloud."""
    assert str(BlobUri.parse("abfss://data@acc/x")) == "https://acc.blob.core.windows.net/data/x"


@given(_containers_by_user, _paths.filter(lambda path: "?" not in path), st.text(_LETTERS, min_size=6, max_size=60))
def test_a_signature_shows_nowhere(container: str, path: str, secret: str):
    """Not in str, repr, copies, equality or any error about the URI; but it is there for the client."""
    assume(secret not in f"{container}/{path}" and secret not in "azblobcorewindowsnetanonymouscontainer")
    secret = f"S3{secret}"
    sas = f"sv=2024-11-04&se=2030-01-01T00%3A00Z&sp=r&sig={secret}%3D"
    for text in (
        f"https://acc.blob.core.windows.net/{container}/{quote(path)}?{sas}",
        f"abfss://{container}@acc.dfs.core.windows.net/{path}?{sas}",
        f"azure://anonymous@acc.blob.core.windows.net/{container}/{path}?{sas}",
        f"http://127.0.0.1:10000/acc/{container}/{quote(path)}?{sas}",
    ):
        uri = BlobUri.parse(text)
        assert uri.sas == sas
        assert secret not in f"{uri} {uri!r} {uri / 'below'} {uri.name}"
        assert uri == BlobUri.parse(text.partition("?")[0])
        assert pickle.loads(pickle.dumps(uri)).sas == copy.copy(uri).sas == sas  # noqa: S301 - our own
    assert BlobUri.parse(f"abfss://{container}@acc.dfs.core.windows.net?{sas}").sas == sas
    for text in (f"az://{container}/{path}?{sas}", f"az://{container}?{sas}", f"data?{sas}", f"s3://x?{sas}", f"https://Bad_Host?{sas}",
                 f"https://acc.blob.core.windows.net/Bad?{sas}", f"abfss://{container}@acc.d/%2e/../x?{sas}",
                 f"https://me:{secret}@acc.blob.core.windows.net/{container}"):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            BlobUri.parse(text)
        assert secret not in f"{caught.value} {caught.value.to_dict()}"


_pieces = st.sampled_from(
    ["az", "abfss", "https", "http", "wasb", "://", "/", "//", "@", "?", "#", "%", "%2F", "%zz", ":", ".", "..", "~",
     "\0", "sig=x", "&", "=", "anonymous", "acc", "127.0.0.1:10000", "[::1]", ".blob.core.windows.net", "$root",
     "data", "\ud800"]
)  # fmt: skip


@given(st.lists(_pieces, max_size=14).map("".join))
def test_fuzz(text: str):
    """Any chain of what URIs are made of is a value that comes back, or a usage error."""
    try:
        uri = BlobUri.parse(text)
    except UsageError:
        return
    again = BlobUri.parse(str(uri))
    assert (again, again.anonymous, again.endpoint) == (uri, uri.anonymous, uri.endpoint)


@given(st.text(max_size=40))
def test_anything_else_is_a_usage_error(text: str):
    """No text makes the parser raise anything but UsageError."""
    for form in (text, f"az://{text}", f"https://{text}", f"abfss://{text}"):
        try:
            BlobUri.parse(form)
        except UsageError as error:
            assert error.message  # noqa: PT017 - an error is one of two right answers


def test_an_emulators_account_is_in_its_path():
    """The first part after an IP address is the account, not the container."""
    uri = BlobUri.parse("http://127.0.0.1:10000/devstoreaccount1/data/a%20b")
    assert (uri.account, uri.container, uri.path) == ("devstoreaccount1", "data", "a b")


def test_the_short_form_takes_names_as_they_are():
    """In `az://` a percent sign, a question mark and a hash belong to the name."""
    assert BlobUri.parse("az://data/100%25?x#y").path == "100%25?x#y"


def test_a_signature_is_kept_and_never_shown():
    """A SAS is there for the client, and in neither str nor repr nor equality."""
    uri = BlobUri.parse("https://acc.blob.core.windows.net/data/x?sv=2024&sig=s3cret")
    assert uri.sas == "sv=2024&sig=s3cret"
    assert "s3cret" not in f"{uri} {uri!r}"
    assert uri == BlobUri.parse("https://acc.blob.core.windows.net/data/x")


@pytest.mark.parametrize("text", ["az://data?sv=1&sig=a/b", "az://data/x?sig=1", "az://anonymous@data?sig=1"])
def test_a_signature_without_an_account_is_called_so(text: str):
    """Wherever it stands behind a short form, the error talks of the signature and not of the container."""
    with pytest.raises(UsageError, match="a signature stands behind a URI that names no account"):
        BlobUri.parse(text)


def test_a_blob_may_be_called_like_a_signature():
    """What a service lists, or a folder has, is a name; only written as a URI it is taken for a signature."""
    assert (BlobUri("data") / "a?sig=2").path == "a?sig=2"


@pytest.mark.parametrize(
    "text",
    ["data/x", "s3://data/x", "az://Data", "az://ab", "az://a--b", "az:///x", "az://data/../x", "https:///x",
     "http://127.0.0.1:1", "https://acc.blob.core.windows.net/Bad?sig=s3cret", "az://data/\ud800",
     "az://data/" + "x" * 1025, "https://acc.blob.core.windows.net/data/x?snapshot=1", "ftp://data/x", "az://data?x", "abfss://data@acc.dfs.core.windows.net?x",
     "abfs://data@127.0.0.1:1", "https://u:p@acc.blob.core.windows.net/data"],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_the_next_step(text: str):
    """Unknown schemes, bad containers, parts that clients resolve: a usage error that shows no signature."""
    with pytest.raises(UsageError) as caught:
        BlobUri.parse(text)
    assert "s3cret" not in str(caught.value)
    assert caught.value.cause or caught.value.next_step


@pytest.mark.parametrize(
    "text",
    ["az://", "az://data", "az://anonymous@data", "https://acc.blob.core.windows.net/", "http://127.0.0.1:1/abc/"],
)
def test_an_account_and_a_container_have_a_form_too(text: str):
    """Without a blob the canonical form is the account's, with its slash, or the container's."""
    assert str(BlobUri.parse(text)) == text


def test_a_place_inside_a_folder():
    """`/` joins with one slash, whether the folder was written with one or not."""
    assert str(BlobUri.parse("az://data/a/") / "b") == str(BlobUri.parse("az://data/a") / "b") == "az://data/a/b"
    assert str(BlobUri.parse("az://data") / "b") == "az://data/b"
