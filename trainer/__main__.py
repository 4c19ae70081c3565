"""`python -m trainer`: arguments to a config, config to the pipeline, failures to one line and an exit code."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

from service.engine import EngineError, Manifest, Store, StoreBusy
from trainer.config import FULL, PROFILES, TOLERANCE, Configs, TrainingConfig, read_config
from trainer.errors import Refused, TrainerError
from trainer.threads import abandoned
from trainer.versions import list_versions

# What trains is imported by the commands that train: a rollback must not wait for it.

FAILED, REFUSED, INTERRUPTED = 1, 3, 130

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.run(options)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return REFUSED
    except (TrainerError, EngineError, ArithmeticError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted; what was published is as it was", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, as `docs/cli.md` describes it."""
    top = argparse.ArgumentParser(prog="python -m trainer", description="Train, evaluate and publish models of Segue.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_tune(commands)
    _add_challenge(commands)
    models = commands.add_parser("models", help="list, show, verify, roll back and prune versions")
    _add_models_commands(models.add_subparsers(dest="models_command", required=True, metavar="COMMAND"))
    _add_synthesize(commands)
    return top


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="read, fit, write, evaluate and publish; prints the version")
    _add_data(train)
    _add_models(train)
    train.add_argument("--no-holdout", action="store_true", help="train on all playlists and evaluate on none")
    train.add_argument("--cold", action="store_true", help="begin from nothing, not from the published version")
    train.add_argument(
        "--refit", action="store_true", help="after the evaluation, take in the playlists that were held out"
    )
    train.add_argument("--force", action="store_true", help="publish even what is worse than the published version")
    train.add_argument(
        "--tolerance",
        type=_share,
        default=TOLERANCE,
        metavar="SHARE",
        help="a fall of NDCG or R-precision up to this is let pass (default: %(default)s)",
    )
    _add_numbers(train)
    train.set_defaults(run=_train)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="the protocol of RecSys Challenge 2018, beside the baselines")
    _add_data(evaluate)
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="write challenge_set.json, answers.json, submission.csv"
    )
    _add_numbers(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_tune(commands: Commands) -> None:
    tune = commands.add_parser("tune", help="search for the numbers that fit the data best; writes a config")
    _add_data(tune)
    tune.add_argument("--out", type=Path, default=Path("tuned.toml"), metavar="FILE", help="default: %(default)s")
    tune.add_argument(
        "--study",
        type=Path,
        default=Path("tune.sqlite"),
        metavar="FILE",
        help="keeps the trials (default: %(default)s)",
    )
    tune.add_argument("--trials", type=_positive, metavar="N", help="end after so many in all (default: 50)")
    tune.add_argument("--minutes", type=float, metavar="M", help="end after so many minutes")
    tune.add_argument(
        "--grid",
        type=_grid,
        action="append",
        default=[],
        metavar="NAME=V1,V2,...",
        help="try these values, and every combination with those of other --grid",
    )
    _add_numbers(tune)
    tune.set_defaults(run=_tune)


def _add_challenge(commands: Commands) -> None:
    challenge = commands.add_parser("challenge", help="answer a published challenge set")
    challenge.add_argument(
        "challenge_set", type=Path, metavar="CHALLENGE_SET", help="challenge_set.json, plain or gzipped"
    )
    _add_models(challenge)
    challenge.add_argument("--out", type=Path, required=True, metavar="FILE", help="the submission, a CSV file")
    challenge.add_argument("--team", default="Segue", help="for the submission's first line (default: %(default)s)")
    challenge.add_argument("--email", default="", help="for the submission's first line")
    challenge.set_defaults(run=_challenge)


def _add_synthesize(commands: Commands) -> None:
    synthetic = commands.add_parser("synthesize", help="write a planted world of playlists, or of listeners")
    synthetic.add_argument("out", type=Path, metavar="OUT", help="a directory or a .zip; of listeners a .tsv")
    world = synthetic.add_mutually_exclusive_group(required=True)
    world.add_argument("--playlists", type=int, metavar="N", help="1 to 1,000,000, as the Million Playlist Dataset")
    world.add_argument("--listeners", type=int, metavar="N", help="1 to 1,000,000, as Last.fm 360K")
    synthetic.add_argument("--seed", type=int, default=0, help="the same seed makes the same world (default: 0)")
    synthetic.set_defaults(run=_synthesize)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="playlists or what people listened to: see docs/data.md for the formats",
    )
    command.add_argument(
        "--columns",
        type=_columns,
        metavar="ROLE=NAME,...",
        help="which column of a table is what, such as playlist=user,track=song,count=plays",
    )


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="default: %(default)s")


def _add_numbers(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("numbers", "of the profile, unless set one by one")
    group.add_argument("--profile", choices=PROFILES, help="default: full, or listening where the data are that")
    group.add_argument("--config", type=Path, metavar="FILE", help="numbers as `tune` writes them, in TOML")
    for number in fields(TrainingConfig):
        choices = number.metadata.get("choices")
        group.add_argument(
            f"--{number.name.replace('_', '-')}",
            type=type(getattr(FULL, number.name)),
            choices=choices,
            metavar="|".join(choices) if choices else "N",
            help=f"{number.metadata['help']} (full: {getattr(FULL, number.name)})",
        )


def _configs(options: argparse.Namespace) -> Configs:
    given = {number.name: getattr(options, number.name) for number in fields(TrainingConfig)}
    numbers = {} if options.config is None else read_config(options.config)
    return Configs.of(options.profile, numbers | {name: value for name, value in given.items() if value is not None})


def _grid(text: str) -> tuple[str, list[float | str]]:
    name, _, values = text.partition("=")
    if not name or not values:
        raise argparse.ArgumentTypeError(f"has to be like alpha=1,2,5; it is {text!r}")
    name = name.replace("-", "_")
    kind: Callable[[str], float | str] = {int: int, str: str}.get(type(getattr(FULL, name, 0.0)), float)
    try:
        return name, [kind(value) for value in values.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name} takes numbers; {text!r} has others: {error}") from error


def _columns(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(role and name for role, _, name in pairs):
        raise argparse.ArgumentTypeError(f"has to be like playlist=user,track=song; it is {text!r}")
    return {role.strip(): name for role, _, name in pairs}


def _add_models_commands(commands: Commands) -> None:
    for name, help_, run in (
        ("list", "all versions, with quality, size and age", _list),
        ("show", "the manifest of a version", _show),
        ("verify", "compare every file of a version with its checksum", _verify),
        ("rollback", "make an older version the current one", _rollback),
        ("prune", "remove old versions; the current one stays", _prune),
    ):
        command = commands.add_parser(name, help=help_)
        _add_models(command)
        if name in ("show", "verify", "rollback"):
            command.add_argument("version", nargs="?", metavar="VERSION", help="the current one unless named")
        if name == "prune":
            command.add_argument(
                "--keep", type=_positive, required=True, metavar="N", help="how many of the newest stay"
            )
        command.set_defaults(run=run)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"has to be a share from 0 up to 1, such as 0.02 for 2 %; it is {text}")
    return share


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"has to be 1 or more; it is {number}")
    return number


def _list(options: argparse.Namespace) -> None:
    print(list_versions(options.models))


def _show(options: argparse.Namespace) -> None:
    print(json.dumps(Manifest.read(Store(options.models).version(options.version)).content(), indent=2))


def _verify(options: argparse.Namespace) -> None:
    directory = Store(options.models).version(options.version)
    Manifest.read(directory).verify(directory)
    print(f"{directory.name} is whole")


def _rollback(options: argparse.Namespace) -> None:
    store = Store(options.models)
    directory = store.target(options.version)
    Manifest.read(directory).verify(directory)
    print(store.rollback(directory.name).name)


def _prune(options: argparse.Namespace) -> None:
    store = Store(options.models)
    pruned = store.prune(options.keep)
    with suppress(StoreBusy), store.writing():
        pass  # what a killed run left is cleared by that; a run that is training clears it at its own start
    print("\n".join(pruned) or "nothing to remove")


def _train(options: argparse.Namespace) -> None:
    from trainer import pipeline

    plan = pipeline.Plan(
        hold_out=not options.no_holdout,
        warm=not options.cold,
        refit=options.refit,
        force=options.force,
        tolerance=options.tolerance,
        columns=options.columns,
    )
    print(pipeline.train(options.data, options.models, _configs(options), plan).version)


def _evaluate(options: argparse.Namespace) -> None:
    from trainer import pipeline

    print(pipeline.evaluate(options.data, _configs(options), options.out, options.columns))


def _synthesize(options: argparse.Namespace) -> None:
    from trainer.sources.listeners import synthesize_listeners
    from trainer.sources.synthetic import synthesize

    if options.listeners is not None:
        synthesize_listeners(options.out, options.listeners, options.seed)
    else:
        synthesize(options.out, options.playlists, options.seed)


def _tune(options: argparse.Namespace) -> None:
    from trainer import pipeline
    from trainer.tune import Budget

    fixed = [number.name for number in fields(TrainingConfig) if getattr(options, number.name) is not None]
    unbounded = options.trials is None and options.minutes is None and not options.grid
    budget = Budget(50 if unbounded else options.trials, options.minutes)
    arguments = (fixed, dict(options.grid), budget, options.study, options.out, options.columns)
    print(pipeline.tune_numbers(options.data, _configs(options), *arguments))
    print(f"the best is in {options.out}: train with --config {options.out}", file=sys.stderr)


def _challenge(options: argparse.Namespace) -> None:
    from trainer import pipeline

    count = pipeline.answer_challenge(options.challenge_set, options.models, options.out, options.team, options.email)
    print(f"{count:,} playlists answered in {options.out}")


def _fail(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return FAILED


def _leave(code: int) -> None:
    """End the process, and with it any call into compiled code that was left behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    if abandoned.is_set():
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        _leave(main())
    except SystemExit as left:
        _leave(left.code if isinstance(left.code, int) else FAILED)
