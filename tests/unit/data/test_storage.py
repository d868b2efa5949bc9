"""Errors of folders in object storage."""

import pickle

import pytest

from affectkit.data.storage import Folder, join_location
from affectkit.errors import StorageError

NETWORK = "When listing objects in bucket 'b': AWS Error NETWORK_CONNECTION during ListObjectsV2: curlCode: 7"


class Unreachable:
    """File system whose every request fails with the same message."""

    def __init__(self, message):
        self.message = message

    def get_file_info(self, _):
        raise OSError(self.message)

    open_input_stream = open_input_file = delete_file = get_file_info


def unreachable(message):
    folder = Folder("fsspec+memory:///x")
    folder.files = Unreachable(message)
    return folder


@pytest.mark.parametrize(
    "request_",
    [
        lambda folder: folder.read("a"),
        lambda folder: folder.open("a"),
        lambda folder: folder.delete("a"),
        lambda folder: folder.sizes(["a"]),
        lambda folder: folder.names(),
        lambda folder: folder.clear_partial(),
    ],
)
def test_every_request_names_the_storage_that_fails(request_):
    with pytest.raises(StorageError, match="NETWORK_CONNECTION") as caught:
        request_(unreachable(NETWORK))
    assert str(caught.value.path).startswith("fsspec+memory:///x")
    assert "Check the network" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation", "AWS_ACCESS_KEY_ID"),
        ("Bucket 'b' not found.", "Create the bucket"),
        ("Something new.", "permissions"),
    ],
)
def test_the_remedy_depends_on_the_fault(message, remedy):
    with pytest.raises(StorageError, match=remedy):
        unreachable(message).names()


def test_errors_of_local_folders_stay_those_of_the_system(tmp_path):
    folder = Folder(tmp_path)
    folder.files = Unreachable("no such device")
    with pytest.raises(OSError, match="no such device"):
        folder.names()


def test_messages_have_no_password_and_other_processes_get_it():
    uri = "fsspec+memory://name:secret@host/x?y=1"
    folder = Folder(uri)
    assert "secret" not in folder.location + folder.place("a")
    assert folder.place("a").endswith("/x/a?y=1")
    assert folder.__reduce__()[1] == (uri,)
    assert pickle.loads(pickle.dumps(folder)).location == folder.location


@pytest.mark.parametrize(
    ("location", "joined"),
    [
        ("s3://b/x?scheme=http&region=r", "s3://b/x/n?scheme=http&region=r"),
        ("s3://b/x/", "s3://b/x/n"),
        ("crops/why?", "crops/why?/n"),
    ],
)
def test_names_precede_the_query_of_a_uri(location, joined):
    assert join_location(location, "n") == joined
