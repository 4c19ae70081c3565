"""The command that makes, lists and revokes keys."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import keys as command
from service.access import Keys

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"segue_[A-Za-z0-9_-]{43}\n")

PROGRAM = """
import argparse, sys
from service import keys
parser = argparse.ArgumentParser(prog="python -m service keys")
keys.add_keys_commands(parser)
sys.exit(keys.run(parser.parse_args()))
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("SEGUE_KEYS", str(path))
    return path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="python -m service keys")
    command.add_keys_commands(parser)
    return command.run(parser.parse_args(arguments))


def run_alone(*arguments: object, **options: object) -> subprocess.Popen[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | options
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], **given)


def created(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run("create", *arguments) == 0
    return capsys.readouterr().out.strip()


# create


def test_a_key_is_printed_once_and_its_hash_alone_is_stored(file: Path, capsys: pytest.CaptureFixture[str]):
    assert run("create", "web") == 0

    out, err = capsys.readouterr()
    assert KEY.fullmatch(out)
    assert out.strip() not in err + file.read_text()
    assert str(file) in err
    (found,) = Keys.read(file).keys
    assert Keys.read(file).find(out.strip().encode()) == found
    assert (found.name, found.rights, found.rate, found.burst) == ("web", {"use"}, None, 0)


def test_no_two_keys_are_alike(file: Path, capsys: pytest.CaptureFixture[str]):
    made = {created(capsys, f"web{number}") for number in range(5)}

    assert len(made) == 5
    assert len(Keys.read(file).keys) == 5


def test_rights_rate_and_burst_are_stored(file: Path, capsys: pytest.CaptureFixture[str]):
    created(capsys, "ops", "--right", "metrics", "--right", "admin", "--rate", "2.5", "--burst", "7")
    created(capsys, "web", "--rate", "2.5")

    ops, web = Keys.read(file).keys
    assert (ops.rights, ops.rate, ops.burst) == ({"metrics", "admin"}, 2.5, 7)
    assert (web.rights, web.rate, web.burst) == ({"use"}, 2.5, 3)


def test_the_file_that_is_named_goes_before_the_environment(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    created(capsys, "web", "--file", str(tmp_path / "other.json"))

    assert not file.exists()
    assert len(Keys.read(tmp_path / "other.json").keys) == 1


def test_without_either_the_file_is_keys_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("SEGUE_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)

    created(capsys, "web")

    assert len(Keys.read(tmp_path / "keys.json").keys) == 1


def test_a_name_that_is_taken_is_refused_and_nothing_is_changed(file: Path, capsys: pytest.CaptureFixture[str]):
    created(capsys, "web")
    before = file.read_bytes()

    assert run("create", "web") == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: there is a key web in {file}: revoke it first, or choose another name\n"
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
def test_a_wrong_command_line_exits_with_two_and_changes_nothing(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
):
    try:
        code = run(*arguments)
    except SystemExit as left:
        code = left.code

    assert code == 2
    assert "error: " in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("subcommand", ["create", "revoke"])
def test_a_key_given_in_the_place_of_a_name_is_not_repeated(
    subcommand: str, file: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        run(subcommand, "segue_" + "Q" * 43)

    assert "Q" * 43 not in "".join(capsys.readouterr())


# The file


def test_a_new_file_is_for_its_owner_alone(file: Path, capsys: pytest.CaptureFixture[str]):
    before = os.umask(0)
    try:
        created(capsys, "web")
    finally:
        os.umask(before)

    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_keeps_its_mode_and_its_owner(file: Path, capsys: pytest.CaptureFixture[str]):
    created(capsys, "web")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 4321, 1234)
    before = file.stat()

    created(capsys, "ops")

    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_of_another_user_is_not_taken_over(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    created(capsys, "web")
    before = file.read_bytes()
    monkeypatch.setattr("os.fchown", refuse)
    there = os.fstat
    monkeypatch.setattr("os.fstat", lambda fd: os.stat_result((*there(fd)[:4], 99, 99, *there(fd)[6:])))

    assert run("create", "ops") == 1

    assert "belongs to another user" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_link_stays_a_link_and_what_it_leads_to_is_changed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "real").mkdir()
    file.symlink_to("real/keys.json")

    created(capsys, "web")
    created(capsys, "ops")

    assert file.is_symlink()
    assert len(Keys.read(tmp_path / "real" / "keys.json").keys) == 2


def test_a_change_is_whole_on_the_disk_before_it_takes_the_place_of_the_old_file(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def noting_replace(path: Path, target: Path) -> Path:
        assert len(Keys.read(path).keys) == 1
        steps.append(f"replace {target.name}")
        return replace(path, target)

    monkeypatch.setattr("os.fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)

    created(capsys, "web")

    assert steps == ["fsync .keys.json.new", "replace keys.json", f"fsync {file.parent.name}"]


def test_a_change_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    created(capsys, "web")
    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", full)

    assert run("create", "ops") == 1

    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {file} cannot be used: No space left on device\n")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_what_a_killed_command_left_is_in_nobodys_way(file: Path, capsys: pytest.CaptureFixture[str]):
    (file.parent / ".keys.json.new").write_text("half of")

    created(capsys, "web")

    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_file_that_cannot_be_read_is_not_written_over(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("not what it should be")

    for arguments in (["create", "web"], ["list"], ["revoke", "web"]):
        assert run(*arguments) == 1
        assert capsys.readouterr().err.startswith(f"error: the keys in {file} cannot be used: expected JSON")

    assert file.read_text() == "not what it should be"


def test_commands_at_once_lose_none_of_their_keys(tmp_path: Path):
    path = tmp_path / "keys.json"
    running = [run_alone("create", f"web{number}", "--file", path) for number in range(8)]
    ended = [process.communicate()[0] for process in running]

    assert [process.returncode for process in running] == [0] * 8
    keys = Keys.read(path)
    found = [keys.find(out.strip().encode()) for out in ended]
    assert [key.name for key in found if key] == [f"web{number}" for number in range(8)]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_key_that_cannot_be_printed_is_told_in_one_line(unbuffered: str, tmp_path: Path):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        process = run_alone("create", "web", "--file", tmp_path / "keys.json", stdout=full, env=env)
        err = process.communicate()[1]

    assert process.returncode == 1
    assert err == "error: the key web was stored but could not be printed: revoke it\n"


# list and revoke


def test_the_list_names_keys_rights_and_rates_and_holds_no_digest(file: Path, capsys: pytest.CaptureFixture[str]):
    made = [created(capsys, "web", "--rate", "50", "--burst", "80"), created(capsys, "ops", "--right", "admin")]

    assert run("list") == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["name", "rights", "rate", "burst", "created"]
    assert [row[:4] for row in rows[1:]] == [["web", "use", "50", "80"], ["ops", "admin", "-", "-"]]
    assert not any(secret in out for secret in made)
    assert not any(entry["digest"] in out for entry in json.loads(file.read_text())["keys"])


def test_a_revoked_key_is_let_in_no_more_and_the_others_are(file: Path, capsys: pytest.CaptureFixture[str]):
    web, ops = created(capsys, "web"), created(capsys, "ops")

    assert run("revoke", "web") == 0

    assert Keys.read(file).find(web.encode()) is None
    assert Keys.read(file).find(ops.encode()) is not None
    assert "no key is left" not in capsys.readouterr().err


def test_revoking_the_last_key_says_that_nobody_is_let_in(file: Path, capsys: pytest.CaptureFixture[str]):
    created(capsys, "web")

    assert run("revoke", "web") == 0

    assert "no key is left" in capsys.readouterr().err
    assert Keys.read(file) == Keys()


def test_a_name_that_is_not_there_cannot_be_revoked(file: Path, capsys: pytest.CaptureFixture[str]):
    created(capsys, "web")

    assert run("revoke", "ops") == 1
    assert capsys.readouterr().err.startswith("error: there is no key ops in ")


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "web"]])
def test_a_file_that_is_not_there_is_not_made_by_looking(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*arguments) == 1

    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "there is no such file" in err
    assert err.count("\n") == 1
    assert list(file.parent.iterdir()) == []


def test_the_command_starts_without_what_serving_needs():
    code = "import sys, service.keys; print(sorted({'fastapi', 'uvicorn', 'numpy', 'pydantic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
