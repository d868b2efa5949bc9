import pickle

import pytest

from affectkit import errors


def test_message_names_place_fault_and_remedy():
    error = errors.VideoError("Cannot decode.", path="a.mp4", frame=7, remedy="Copy it again.")
    assert str(error) == "a.mp4, frame 7: Cannot decode. Copy it again."


def test_message_without_a_place():
    assert str(errors.ConfigError("No head.")) == "No head."


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_a_process_boundary(name):
    error = getattr(errors, name)("Bad.", path="a.csv", line=3, frame=1, remedy="Mend it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == "a.csv, line 3, frame 1: Bad. Mend it."
    assert isinstance(copy, errors.AffectKitError)
