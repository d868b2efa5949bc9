"""What a task asks of its data, whatever stands behind the trainer."""

from types import SimpleNamespace

import pytest
from helpers.ssm import make_sources
from helpers.toy import ToyDataModule
from lightning.pytorch import LightningDataModule

from affectkit.tasks.data import protocol_of, task_data


def test_a_mixture_answers_for_each_source():
    data = make_sources()
    data.setup("fit")
    data.sources["units"].__class__ = type("Named", (ToyDataModule,), {"protocol": "three folds"})
    found = task_data(SimpleNamespace(datamodule=data))
    assert found is data
    assert protocol_of(found, "units") == "three folds"
    assert protocol_of(found, "faces") == data.sources["faces"].protocol
    assert protocol_of(found, "elsewhere") == data.protocol
    assert found.label_rates("au", "AU1,AU4,AU12").shape == (3,)


@pytest.mark.parametrize("trainer", [SimpleNamespace(), SimpleNamespace(datamodule=LightningDataModule())])
def test_plain_loaders_state_nothing(trainer):
    found = task_data(trainer)
    assert protocol_of(found, "any") == "test split"
    assert dict(found.trained_on) == {}
    assert found.annotations == {}
    assert found.unread == ()
    assert found.annotated("au", "AU1") is None
    assert found.label_rates("au", "AU1") is None
    assert found.cooccurrence("au", "AU1") is None
