"""Standard streams that nobody reads, or that cannot be written, do not end the work of a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORK = """
import pathlib, sys
from service.streams import check_output, guard_streams
guard_streams()
print("a result")
print("a step", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    file.write("after the streams" if file.fileno() > 2 else "in place of a stream")
    print("the last step", file=sys.stderr)
{check}
sys.exit(7)
"""


def work(redirection: str, file: Path, check: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program that prints, writes *file* and exits with 7."""
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    return subprocess.run(
        [*shell, sys.executable, "-c", WORK.format(check=check), str(file)],
        cwd=ROOT,
        check=False,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )


@pytest.mark.parametrize(
    "redirection",
    [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "</dev/full"],
)
def test_work_goes_on_and_keeps_its_exit_code_without_streams(redirection: str, tmp_path: Path):
    done = work(redirection, tmp_path / "file")

    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "after the streams"


def test_a_reader_that_left_is_no_error(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    done = work("2>&1", tmp_path / "file", "check_output()", stdout=writer)
    os.close(writer)

    assert done.returncode == 7
    assert (tmp_path / "file").read_text() == "after the streams"


@pytest.mark.parametrize(("redirection", "lost"), [(">/dev/full", True), (">&-", False), ("", False)])
def test_a_result_is_checked_if_somebody_wants_it(redirection: str, lost: bool, tmp_path: Path):
    done = work(redirection, tmp_path / "file", "check_output()")

    assert ("No space left on device: 'standard output'" in done.stderr) == lost
    assert done.returncode == (1 if lost else 7)


def test_a_pipe_that_another_process_made_non_blocking_gets_every_byte():
    program = "from service.streams import guard_streams; guard_streams(); print('x' * 1_000_000)"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=writer):
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert len(pipe.read()) == 1_000_001


def test_letters_that_the_encoding_lacks_are_escaped(tmp_path: Path):
    program = "from service.streams import guard_streams; guard_streams(); print('\\udcff ÷ ☃')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )

    assert done.stdout == b"\\udcff \xf7 \\u2603\n"
