"""Settings come from the environment."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_settings_are_read_with_their_prefix(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_MODELS", "/srv/models")
    monkeypatch.setenv("SEGUE_PORT", "9")

    assert (Settings().models, Settings().port, Settings().host) == (Path("/srv/models"), 9, "127.0.0.1")


def test_an_empty_variable_means_unset(monkeypatch: pytest.MonkeyPatch):
    """Compose files write `SEGUE_KEYS=` for a variable that is not set."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SEGUE_{name.upper()}", "")

    assert Settings() == Settings.model_construct()


def test_an_empty_key_file_does_not_open_the_service_to_other_machines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_KEYS", "")
    monkeypatch.setenv("SEGUE_HOST", "0.0.0.0")

    with pytest.raises(ValidationError, match="SEGUE_KEYS names no key file"):
        Settings()


@pytest.mark.parametrize("name", ["models", "runtime", "keys", "blocklist"])
def test_a_path_that_is_not_utf_8_is_refused(name: str):
    with pytest.raises(ValidationError, match="not UTF-8"):
        Settings(**{name: Path(os.fsdecode(b"/srv/\xff"))})


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_no_time_is_without_end(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_REQUEST_TIMEOUT_S", value)

    with pytest.raises(ValidationError, match="finite number"):
        Settings()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.0/8", '["10.0.0.0/8"]'),
        ("10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]'),
        ("[10.0.0.0/8,::1]", '["10.0.0.0/8", "::1"]'),
        ("['10.0.0.1']", '["10.0.0.1"]'),
        ('"10.0.0.1"', '["10.0.0.1"]'),
        (" ", "[]"),
    ],
)
def test_a_text_that_is_no_json_list_is_refused_with_the_list_that_was_meant(
    text: str, meant: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SEGUE_TRUSTED_PROXIES", text)
    with pytest.raises(ValidationError, match=re.escape(f"expected a JSON list, such as {meant}")):
        Settings()

    monkeypatch.setenv("SEGUE_TRUSTED_PROXIES", meant)
    assert len(Settings().trusted_proxies) == len(json.loads(meant))


def test_a_setting_that_is_wrong_is_named_in_one_line():
    found = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, "SEGUE_PORT": "many"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 2
    assert found.stderr.startswith("error: SEGUE_PORT is 'many'")
    assert len(found.stderr.splitlines()) == 1
