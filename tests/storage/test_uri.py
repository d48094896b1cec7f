"""Blob URIs: four ways to write a place, one value; what is wrong is refused, and a signature is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.errors import UsageError
from azray_lab.storage.uri import BlobUri

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_containers = st.lists(st.text(_LETTERS, min_size=3, max_size=9), min_size=1, max_size=4).map("-".join)
_paths = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(
    lambda path: not {".", ".."} & set(path.split("/"))
)
_endpoints = st.sampled_from(
    ["", "https://account.blob.core.windows.net", "http://127.0.0.1:10000/devstoreaccount1", "http://localhost:1/a"]
)
_uris = st.builds(BlobUri, _containers, _paths, _endpoints)


@given(_uris)
def test_a_rendered_uri_parses_to_itself(uri: BlobUri):
    """Whatever characters a name has, its canonical form means the same place."""
    assert BlobUri.parse(str(uri)) == uri


@given(_containers, _paths)
def test_hadoops_form_and_the_address_mean_the_same_account(container: str, path: str):
    """`abfss://` and `https://` of one account give one value."""
    uri = BlobUri(container, path, "https://acc.blob.core.windows.net")
    assert BlobUri.parse(f"abfss://{container}@acc.dfs.core.windows.net/{path}") == uri
    assert uri.account == "acc"


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


@pytest.mark.parametrize(
    "text",
    ["data/x", "s3://data/x", "az://Data", "az://ab", "az://a--b", "az:///x", "az://data/../x", "https:///x",
     "http://127.0.0.1:1", "https://acc.blob.core.windows.net/Bad?sig=s3cret", "az://data/\ud800",
     "az://data/" + "x" * 1025],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_the_next_step(text: str):
    """Unknown schemes, bad containers, parts that clients resolve: a usage error that shows no signature."""
    with pytest.raises(UsageError) as caught:
        BlobUri.parse(text)
    assert "s3cret" not in str(caught.value)
    assert caught.value.cause or caught.value.next_step


def test_a_place_inside_a_folder():
    """`/` joins with one slash, whether the folder was written with one or not."""
    assert str(BlobUri.parse("az://data/a/") / "b") == str(BlobUri.parse("az://data/a") / "b") == "az://data/a/b"
    assert str(BlobUri.parse("az://data") / "b") == "az://data/b"
