"""The numbers of a training run."""

from dataclasses import replace

import pytest

from trainer.config import FULL, TrainingConfig, format_config, read_config
from trainer.errors import BadConfig


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("factors", 0, "greater than or equal to 1"),
        ("alpha", -1, "greater than or equal to 0"),
        ("regularization", 0, "greater than or equal to 0.000001"),
        ("trees", 10**6, "less than or equal to 1000"),
        ("neighbour_recall", 1.1, "less than or equal to 1"),
        ("beta", float("nan"), "finite number"),
        ("alpha", float("inf"), "finite number"),
        ("alpha", "many", "valid number"),
        ("factors", 1.5, "valid integer"),
        ("factors", True, "valid integer"),
        ("weighting", "cubic", "'log', 'linear' or 'bm25'"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_name_its_value_and_the_allowed_ones(
    name: str, value: object, allowed: str
):
    with pytest.raises(BadConfig) as refused:
        FULL.changed({name: value})

    assert str(refused.value).startswith(f"{name} is {value!r}; it should be")
    assert allowed in str(refused.value)


def test_an_unknown_number_is_refused_with_the_known_names():
    with pytest.raises(BadConfig, match="no number called 'alhpa'; use one of: alpha, "):
        FULL.changed({"alhpa": 7})


def test_a_config_cannot_be_changed_but_copied():
    assert replace(FULL, factors=3).factors == 3
    with pytest.raises(AttributeError):
        FULL.factors = 3


def test_a_config_that_was_written_is_read_again(tmp_path):
    config = TrainingConfig(alpha=7, weighting="bm25")
    (tmp_path / "numbers.toml").write_text(format_config(config, "found\nby hand"))

    assert FULL.changed(read_config(tmp_path / "numbers.toml")) == config
