"""`python -m service`: faults of the configuration stop it at once, each in one line."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
WITHOUT_MODULES = """
import runpy, sys
sys.modules |= dict.fromkeys(sys.argv[1:])
sys.argv = ["service"]
runpy.run_module("service", run_name="__main__")
"""


def attempt(*missing: str, **settings: Any) -> tuple[int, list[str]]:
    """
    Start a service that must stop at once.

    Args:
        missing: modules that cannot be imported.
        settings: the only settings in its environment.

    Returns:
        The exit code and the lines on standard error.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SEGUE_", "PROMETHEUS_"))}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MODULES, *missing] if missing else [sys.executable, "-m", "service"],
        env=ours | {f"SEGUE_{name.upper()}": str(value) for name, value in settings.items()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"workers": "none", "max_k": "0"}, ["SEGUE_WORKERS", "SEGUE_MAX_K"]),
        ({"cors_origins": "https://example.org"}, ["SEGUE_CORS_ORIGINS"]),
        ({"trusted_proxies": '["::1", "proxy"]'}, ["entry 2 of SEGUE_TRUSTED_PROXIES is 'proxy': "]),
        (
            {"runtime": "/nowhere/at/all"},
            ["/nowhere/at/all: No such file or directory; name another one in SEGUE_RUNTIME"],
        ),
        ({"runtime": __file__}, ["Not a directory; name another one in SEGUE_RUNTIME"]),
        ({"host": "ü..b", "allow_anyone": "true"}, ["cannot listen on ü..b:0: "]),
        (
            {"host": "192.0.2.1", "allow_anyone": "true"},
            ["Cannot assign requested address; choose another address in SEG"],
        ),
    ],
    ids=["numbers", "list", "entry", "runtime", "file", "name", "address"],
)
def test_each_faulty_setting_is_named_in_one_line(settings: dict[str, str], named: list[str], tmp_path: Path):
    code, lines = attempt(models=tmp_path, port=0, **settings)

    assert (code, len(lines)) == (2, len(named)), lines
    assert all(line.startswith("error: ") and name in line for line, name in zip(lines, named, strict=True))


def test_a_public_address_without_keys_is_refused(tmp_path: Path):
    code, (line,) = attempt(models=tmp_path, host="0.0.0.0", port=0)

    assert code == 2
    assert "SEGUE_KEYS" in line
    assert "SEGUE_ALLOW_ANYONE=true" in line


def test_a_faulty_key_file_is_refused(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_text("[]")
    code, (line,) = attempt(models=tmp_path, port=0, keys=path)

    assert code == 2
    assert str(path) in line


@pytest.mark.parametrize("setting", ["keys", "blocklist"])
def test_a_file_that_is_not_there_yet_does_not_end_the_start(setting: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # which ends it later
        code, (line,) = attempt(models=tmp_path, port=taken.getsockname()[1], **{setting: "/mnt/later/file"})

    assert code == 2
    assert "in use" in line


@pytest.mark.parametrize("setting", ["keys", "blocklist"])
def test_a_pipe_or_a_directory_is_refused_at_once(setting: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "named pipe"), (tmp_path, "directory")):
        code, (line,) = attempt(models=tmp_path, port=0, **{setting: path})

        assert code == 2
        assert f"{path} cannot be used: it is a {kind}" in line


def test_a_port_in_use_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, (line,) = attempt(models=tmp_path, port=port)

    assert code == 2
    assert f"127.0.0.1:{port}: Address already in use; choose" in line


def test_traces_without_opentelemetry_are_refused(tmp_path: Path):
    missing = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    code, (line,) = attempt(missing, models=tmp_path, port=0, otlp_endpoint="http://127.0.0.1:1/v1/traces")

    assert code == 2
    assert "segue[tracing]" in line
