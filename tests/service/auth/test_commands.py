"""`python -m service keys`: create, list and revoke."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.auth.keys import Keys
from service.cli import main

ROOT = Path(__file__).parents[3]
KEY = re.compile(r"segue_[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("SEGUE_KEYS", str(path))
    return path


def run(*arguments: str) -> int:
    return main(["keys", *arguments])


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | options
    return subprocess.Popen([sys.executable, "-m", "service", "keys", *map(str, arguments)], **options)


def create(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run("create", *arguments) == 0
    return capsys.readouterr().out.strip()


def test_create_prints_the_key_once_and_stores_only_its_hash(file: Path, capsys: pytest.CaptureFixture[str]):
    assert run("create", "web") == 0

    out, err = capsys.readouterr()
    assert KEY.fullmatch(out)
    assert out.strip() not in err + file.read_text()
    assert str(file) in err
    (found,) = Keys.read(file).keys
    assert Keys.read(file).find(out.strip().encode()) == found
    assert (found.name, found.rights, found.rate, found.burst) == ("web", ("use",), None, None)


def test_create_stores_rights_rate_and_burst(file: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "ops", "--right", "admin", "--right", "metrics", "--rate", "2.5", "--burst", "7")
    create(capsys, "web", "--rate", "2.5")

    ops, web = Keys.read(file).keys
    assert (ops.rights, ops.rate, ops.burst) == (("metrics", "admin"), 2.5, 7)
    assert (web.rights, web.rate, web.burst) == (("use",), 2.5, 3)


def test_the_option_file_overrides_the_environment(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "web", "--file", str(tmp_path / "other.json"))

    assert not file.exists()
    assert len(Keys.read(tmp_path / "other.json").keys) == 1


def test_the_default_file_is_keys_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("SEGUE_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)

    create(capsys, "web")

    assert len(Keys.read(tmp_path / "keys.json").keys) == 1


def test_a_second_key_of_the_same_name_is_refused(file: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "web")
    before = file.read_bytes()

    assert run("create", "web") == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {file} already has a key web: revoke it first, or choose another name\n"
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "two words"],
        ["create", "web", "--right", "root"],
        ["create", "web", "--rate", "0"],
        ["create", "web", "--rate", "nan"],
        ["create", "web", "--rate", "1e9"],
        ["create", "web", "--rate", "1", "--burst", "0"],
        ["create", "web", "--rate", "1", "--burst", "1.5"],
        ["create", "web", "--burst", "5"],
        ["revoke"],
        [],
    ],
)
def test_a_wrong_command_line_exits_with_2_and_changes_nothing(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
):
    try:
        code = run(*arguments)
    except SystemExit as error:
        code = error.code

    assert code == 2
    assert "error: " in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("subcommand", ["create", "revoke"])
def test_a_key_given_as_a_name_is_not_repeated(subcommand: str, file: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run(subcommand, "segue_" + "Q" * 43)

    assert "Q" * 43 not in "".join(capsys.readouterr())


# The file


def test_only_its_owner_can_read_a_new_file(file: Path, capsys: pytest.CaptureFixture[str]):
    before = os.umask(0)
    try:
        create(capsys, "web")
    finally:
        os.umask(before)

    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_keeps_its_mode_and_owner(file: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "web")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 4321, 1234)
    before = file.stat()

    create(capsys, "ops")

    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_of_another_user_is_not_changed(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    create(capsys, "web")
    before = file.read_bytes()
    monkeypatch.setattr("os.fchown", refuse)
    there = os.fstat
    monkeypatch.setattr("os.fstat", lambda fd: os.stat_result((*there(fd)[:4], 99, 99, *there(fd)[6:])))

    assert run("create", "ops") == 1

    assert "belongs to another user" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_link_stays_a_link_and_its_target_is_changed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "real").mkdir()
    file.symlink_to("real/keys.json")

    create(capsys, "web")
    create(capsys, "ops")

    assert file.is_symlink()
    assert len(Keys.read(tmp_path / "real" / "keys.json").keys) == 2


def test_a_change_is_on_the_disk_before_it_replaces_the_file(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def record_replace(path: Path, target: Path) -> Path:
        assert len(Keys.read(path).keys) == 1
        steps.append(f"replace {target.name}")
        return replace(path, target)

    monkeypatch.setattr("os.fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)

    create(capsys, "web")

    assert steps == ["fsync .keys.json.new", "replace keys.json", f"fsync {file.parent.name}"]


def test_a_failed_change_leaves_the_file_and_its_directory_as_they_were(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    create(capsys, "web")
    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", fail)

    assert run("create", "ops") == 1

    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {file} cannot be used: No space left on device\n")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_file_left_by_a_killed_command_is_removed(file: Path, capsys: pytest.CaptureFixture[str]):
    (file.parent / ".keys.json.new").write_text("half of")

    create(capsys, "web")

    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_an_invalid_file_is_not_overwritten(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("not JSON")

    for arguments in (["create", "web"], ["list"], ["revoke", "web"]):
        assert run(*arguments) == 1
        assert capsys.readouterr().err.startswith(f"error: the key file {file} cannot be used: Invalid JSON")

    assert file.read_text() == "not JSON"


def test_simultaneous_commands_lose_no_key(tmp_path: Path):
    path = tmp_path / "keys.json"
    names = [f"web{number}" for number in range(4)]
    running = [start("create", name, "--file", path) for name in names]
    secrets = [process.communicate()[0].strip() for process in running]

    assert [process.returncode for process in running] == [0] * len(names)
    found = [Keys.read(path).find(secret.encode()) for secret in secrets]
    assert [key.name for key in found if key] == names


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_key_that_cannot_be_printed_is_reported_in_one_line(unbuffered: str, tmp_path: Path):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        process = start("create", "web", "--file", tmp_path / "keys.json", stdout=full, env=env)
        err = process.communicate()[1]

    assert process.returncode == 1
    assert err == "error: the key web was stored but could not be printed: revoke it\n"


# list and revoke


def test_list_shows_names_rights_and_rates_and_no_secret(file: Path, capsys: pytest.CaptureFixture[str]):
    secrets = [create(capsys, "web", "--rate", "50", "--burst", "80"), create(capsys, "ops", "--right", "admin")]

    assert run("list") == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["name", "rights", "rate", "burst", "created"]
    assert [row[:4] for row in rows[1:]] == [["web", "use", "50", "80"], ["ops", "admin", "-", "-"]]
    assert not any(secret in out for secret in secrets)
    assert not any(entry["digest"] in out for entry in json.loads(file.read_text())["keys"])


def test_a_revoked_key_is_refused_and_the_others_are_accepted(file: Path, capsys: pytest.CaptureFixture[str]):
    web, ops = create(capsys, "web"), create(capsys, "ops")

    assert run("revoke", "web") == 0

    assert Keys.read(file).find(web.encode()) is None
    assert Keys.read(file).find(ops.encode()) is not None
    assert "no key is left" not in capsys.readouterr().err


def test_revoking_the_last_key_warns_that_no_key_is_left(file: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "web")

    assert run("revoke", "web") == 0

    assert "no key is left" in capsys.readouterr().err
    assert Keys.read(file) == Keys(keys=())


def test_an_unknown_key_cannot_be_revoked(file: Path, capsys: pytest.CaptureFixture[str]):
    create(capsys, "web")

    assert run("revoke", "ops") == 1
    assert f"error: {file} has no key ops; `keys list`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "web"]])
def test_list_and_revoke_do_not_create_a_file(arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]):
    assert run(*arguments) == 1

    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "there is no such file" in err
    assert err.count("\n") == 1
    assert list(file.parent.iterdir()) == []


def test_the_command_imports_neither_the_server_nor_the_engine():
    code = "import sys, service.cli; print({'fastapi', 'numpy', 'prometheus_client', 'uvicorn'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == "set()\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_directory_without_locks_is_named_with_the_remedy(
    number: int, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)

    assert run("create", "web") == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"error: {file.parent} cannot be locked: {os.strerror(number)}; change a copy on a disk with"
    )
    assert not file.exists()
