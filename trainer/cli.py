"""The command line: options to a config and a plan, errors to one line and an exit code."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

from service.engine import KINDS, EngineError, Weighting
from service.streams import check_output
from trainer.arguments import Commands, add_models, add_without_locks, between
from trainer.config import (
    FULL,
    HELP,
    MAX_ODD,
    MIN_PLAYED_PCT,
    MIN_PLAYED_S,
    PROFILES,
    TOLERANCE,
    Configs,
    ReadOptions,
    TrainingConfig,
    read_config,
)
from trainer.errors import BadConfig, NotPublished, TrainerError
from trainer.versions import add_models_commands

# The commands that train import their modules when they run, so that a rollback starts quickly.

FAILED, NOT_PUBLISHED, INTERRUPTED = 1, 3, 130
DEFAULT_TRIALS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.run(options)
    except NotPublished as reason:
        print(reason, file=sys.stderr)
        return NOT_PUBLISHED
    except (TrainerError, EngineError, ArithmeticError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
    except MemoryError as error:
        return _fail(f"the memory is not enough: {error or 'allocation failed'}; use fewer factors or less data")
    except KeyboardInterrupt:
        print("interrupted; the published version is unchanged", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line that `docs/cli.md` describes."""
    top = argparse.ArgumentParser(prog="python -m trainer", description="Train, evaluate and publish models of Segue.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_tune(commands)
    _add_challenge(commands)
    _add_recommend(commands)
    models = commands.add_parser("models", help="list, show, verify, roll back and prune versions")
    add_models_commands(models.add_subparsers(dest="models_command", required=True, metavar="COMMAND"))
    _add_synthesize(commands)
    return top


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="read, fit, write, evaluate and publish; prints the version")
    _add_data(train)
    add_models(train)
    add_without_locks(train)
    for flag, help_ in (
        ("--no-holdout", "train on all playlists and evaluate on none"),
        ("--no-baselines", "evaluate without the baselines"),
        ("--cold", "start from random vectors, not from the published version"),
        ("--refit", "add the held-out playlists by another warm fit after the evaluation"),
        ("--force", "publish whatever the gate says"),
    ):
        train.add_argument(flag, action="store_true", help=help_)
    train.add_argument(
        "--catalogue",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what is known of tracks, to filter by and to show: CSV, Parquet or JSON lines with their ids; may repeat",
    )
    train.add_argument(
        "--tolerance",
        type=between(float, 0, 0.99),
        default=TOLERANCE,
        metavar="SHARE",
        help="accepted relative fall of NDCG or R-precision (default: %(default)s)",
    )
    _add_numbers(train)
    train.set_defaults(run=_train)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="the protocol of RecSys Challenge 2018, with baselines")
    _add_data(evaluate)
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="write challenge_set.json, answers.json, submission.csv"
    )
    _add_numbers(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_tune(commands: Commands) -> None:
    tune = commands.add_parser("tune", help="search for the best numbers for the data; writes a config")
    _add_data(tune)
    tune.add_argument("--out", type=Path, default=Path("tuned.toml"), metavar="FILE", help="default: %(default)s")
    tune.add_argument(
        "--study",
        type=Path,
        default=Path("tune.sqlite"),
        metavar="FILE",
        help="file of the trials (default: %(default)s)",
    )
    tune.add_argument(
        "--trials", type=between(int, 1, 10**6), metavar="N", help=f"trials in total (default: {DEFAULT_TRIALS})"
    )
    tune.add_argument("--minutes", type=between(float, 0.01, 10**6), metavar="M", help="minutes of this search")
    tune.add_argument(
        "--grid",
        type=_grid,
        action="append",
        default=[],
        metavar="NAME=V1,V2,...",
        help="values to try, in every combination with those of other --grid options",
    )
    _add_numbers(tune)
    tune.set_defaults(run=_tune)


def _add_challenge(commands: Commands) -> None:
    challenge = commands.add_parser("challenge", help="answer a published challenge set")
    challenge.add_argument(
        "challenge_set", type=Path, metavar="CHALLENGE_SET", help="challenge_set.json, plain or gzipped"
    )
    add_models(challenge)
    challenge.add_argument("--out", type=Path, required=True, metavar="FILE", help="the submission, a CSV file")
    challenge.add_argument("--team", default="Segue", help="for the submission's first line (default: %(default)s)")
    challenge.add_argument("--email", default="", help="for the submission's first line")
    challenge.set_defaults(run=_challenge)


def _add_recommend(commands: Commands) -> None:
    recommend = commands.add_parser("recommend", help="continue all playlists of files, and write them to a file")
    _add_data(recommend)
    add_models(recommend)
    recommend.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a .parquet or .jsonl file that does not exist"
    )
    recommend.add_argument(
        "--k", type=between(int, 1, 10_000), default=100, help="items for each playlist (default: %(default)s)"
    )
    recommend.add_argument("--kind", choices=KINDS, help="default: tracks, if the catalogue has any")
    recommend.set_defaults(run=_recommend)


def _add_synthesize(commands: Commands) -> None:
    synthetic = commands.add_parser("synthesize", help="write a synthetic world of playlists or of listeners")
    synthetic.add_argument("out", type=Path, metavar="OUT", help="a directory or a .zip; a .tsv for listeners")
    world = synthetic.add_mutually_exclusive_group(required=True)
    world.add_argument("--playlists", type=int, metavar="N", help="1 to 1,000,000, like the Million Playlist Dataset")
    world.add_argument("--listeners", type=int, metavar="N", help="1 to 1,000,000, like Last.fm 360K")
    synthetic.add_argument("--seed", type=int, default=0, help="the same seed gives the same world (default: 0)")
    synthetic.set_defaults(run=_synthesize)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="files or directories of playlists or listening histories; docs/data.md has the formats",
    )
    command.add_argument(
        "--columns",
        type=_columns,
        metavar="ROLE=NAME,...",
        help="names or numbers of table columns by role, such as playlist=who,track=song,count=3; position= is none",
    )
    command.add_argument(
        "--max-odd",
        type=between(float, 0, 1),
        default=MAX_ODD,
        metavar="SHARE",
        help="accepted share of odd records, which are passed over (default: %(default)s)",
    )
    command.add_argument(
        "--min-played",
        type=between(float, 0, 86_400),
        default=MIN_PLAYED_S,
        metavar="SECONDS",
        help="length from which a listen counts, in histories that tell it (default: %(default)g)",
    )
    command.add_argument(
        "--min-played-pct",
        type=between(float, 0, 100),
        default=MIN_PLAYED_PCT,
        metavar="PERCENT",
        help="share of a track from which a listen counts, in histories that tell it (default: %(default)g)",
    )


def _add_numbers(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("numbers", "those of the profile unless given")
    group.add_argument("--profile", choices=PROFILES, help="default: listening for listening histories, else full")
    group.add_argument("--config", type=Path, metavar="FILE", help="numbers in TOML, as `tune` writes them")
    for name, help_ in HELP.items():
        choices = get_args(Weighting) if name == "weighting" else None
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(getattr(FULL, name)),
            choices=choices,
            metavar="|".join(choices) if choices else "N",
            help=f"{help_} (full: {getattr(FULL, name)})",
        )


def _grid(text: str) -> tuple[str, list[float | str]]:
    name, _, values = text.partition("=")
    if not name or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not like alpha=1,2,5")
    name = name.replace("-", "_")
    kind: Callable[[str], float | str] = {int: int, str: str}.get(type(getattr(FULL, name, 0.0)), float)
    try:
        return name, [kind(value) for value in values.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name} takes numbers, and {text!r} has others: {error}") from error


def _columns(text: str) -> dict[str, str]:
    from trainer.sources.columns import parse_columns

    try:
        return parse_columns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_options(options: argparse.Namespace) -> ReadOptions:
    return ReadOptions(options.columns or {}, options.max_odd, options.min_played, options.min_played_pct)


def _given(options: argparse.Namespace) -> dict[str, float | str]:
    """Return the numbers that are given as options."""
    values = {number.name: getattr(options, number.name) for number in fields(TrainingConfig)}
    return {name: value for name, value in values.items() if value is not None}


def _configs(options: argparse.Namespace) -> Configs:
    numbers = {} if options.config is None else read_config(options.config)
    return Configs.of(options.profile, numbers | _given(options))


def _train(options: argparse.Namespace) -> None:
    from trainer import pipeline

    plan = pipeline.Plan(
        hold_out=not options.no_holdout,
        warm=not options.cold,
        refit=options.refit,
        force=options.force,
        baselines=not options.no_baselines,
        tolerance=options.tolerance,
        reading=_read_options(options),
        catalogues=options.catalogue,
        needs_locks=not options.without_locks,
    )
    print(pipeline.train(options.data, options.models, _configs(options), plan).version)


def _recommend(options: argparse.Namespace) -> None:
    from trainer import pipeline

    reading = _read_options(options)
    n = pipeline.recommend(options.data, options.models, options.out, options.k, options.kind, reading)
    print(f"{options.out}: {n:,} playlists")


def _evaluate(options: argparse.Namespace) -> None:
    from trainer import pipeline

    print(pipeline.evaluate(options.data, _configs(options), options.out, _read_options(options)))
    check_output()


def _tune(options: argparse.Namespace) -> None:
    from trainer import pipeline
    from trainer.tune import Budget

    grid = dict(options.grid)
    if len(grid) < len(options.grid):
        raise BadConfig("two --grid options have the same name; list all its values in one")
    unlimited = options.trials is None and options.minutes is None and not grid
    budget = Budget(DEFAULT_TRIALS if unlimited else options.trials, options.minutes)
    arguments = (list(_given(options)), grid, budget, options.study, options.out, _read_options(options))
    print(pipeline.tune_numbers(options.data, _configs(options), *arguments))
    print(f"the best numbers are in {options.out}: train with --config {options.out}", file=sys.stderr)


def _challenge(options: argparse.Namespace) -> None:
    from trainer import pipeline

    count = pipeline.answer_challenge(options.challenge_set, options.models, options.out, options.team, options.email)
    print(f"{count:,} playlists answered in {options.out}")


def _synthesize(options: argparse.Namespace) -> None:
    from trainer.synthetic.listeners import synthesize_listeners
    from trainer.synthetic.playlists import synthesize

    if options.listeners is not None:
        synthesize_listeners(options.out, options.listeners, options.seed)
    else:
        synthesize(options.out, options.playlists, options.seed)


def _fail(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return FAILED
