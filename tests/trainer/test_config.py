"""The numbers of a training run."""

from dataclasses import replace

import pytest

from trainer.config import FULL, TrainingConfig
from trainer.errors import BadConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factors", 0),
        ("alpha", -1),
        ("regularization", 0),
        ("iterations", 0),
        ("beta", float("nan")),
        ("trees", 10**6),
        ("alpha", float("inf")),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(name: str, value: float):
    with pytest.raises(BadConfig, match=f"{name} has to be between"):
        TrainingConfig(**{name: value})


def test_a_config_cannot_be_changed_but_copied():
    assert replace(FULL, factors=3).factors == 3
    with pytest.raises(AttributeError):
        FULL.factors = 3
