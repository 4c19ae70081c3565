"""The search for numbers that fit the data best: Optuna's, or a plain grid."""

import hashlib
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from service.engine import WEIGHTINGS, Recommender
from trainer.challenge import Task, track_artists
from trainer.config import TrainingConfig, format_config
from trainer.dataset import Dataset
from trainer.errors import BadConfig, BadInput, NothingToLearn
from trainer.evaluate import Segue, ask, score
from trainer.fitting import fit_and_write
from trainer.progress import quiet, say
from trainer.protocol import split
from trainer.steps import Steps

# What the index costs and finds has no part in what is searched for.
CHEAP_INDEX: dict[str, Any] = {"trees": 1, "neighbour_recall": 0.0}

OF_ALL: dict[str, BaseDistribution] = {
    "alpha": FloatDistribution(0.3, 100, log=True),
    "regularization": FloatDistribution(0.001, 500, log=True),
}
OF_TRACKS: dict[str, BaseDistribution] = {
    "factors": CategoricalDistribution((64, 96, 128, 160, 192, 256)),
    "beta": FloatDistribution(0, 1),
    "artist_weight": FloatDistribution(0, 3),
    "title_weight": FloatDistribution(0, 3),
    "gram_weight": FloatDistribution(0, 1),
}
OF_ARTISTS: dict[str, BaseDistribution] = {"factors": CategoricalDistribution((32, 48, 64, 96, 128, 192))}
OF_COUNTS: dict[str, BaseDistribution] = {"weighting": CategoricalDistribution(WEIGHTINGS)}


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many trials in all, or after so many minutes of this run, whichever is first."""

    trials: int | None = None
    minutes: float | None = None


def tune(
    dataset: Dataset,
    config: TrainingConfig,
    fixed: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    budget: Budget,
    study: Path,
    out: Path,
) -> str:
    """
    Search for the numbers by which held-out playlists are continued best, and write the best so far to *out*.

    The playlists that `evaluate` asks for are set aside first, so that nothing is tuned on them. The trials are kept in
    *study*; a search that was ended goes on from there.

    Args:
        dataset: the data.
        config: where the search begins, and the numbers that are not searched for.
        fixed: names of numbers that stay as they are in *config*.
        grid: the values to try of each number; every combination is tried. Empty to let Optuna choose.
        budget: when it ends.
        study: an SQLite file.
        out: the config file to write.

    Returns:
        The best trials as a table, for a person.

    Raises:
        BadConfig: *grid* names what is not a number of a training run, or a value out of its range.
        NothingToLearn: there are too few playlists, or no trial came to an end.
        BadInput: *study* cannot be opened, or is something else.
        OSError: *study* or *out* cannot be written.
    """
    rest, _ = split(dataset, config.seed)
    learned, tasks = split(rest, config.seed)
    search = _Search(learned, tasks, config, "ndcg_at_10" if dataset.listening else "ndcg")
    space = _grid_space(config, grid) if grid else _space(dataset, fixed)
    found = _open(study, _study_name(dataset, search, space, grid), space, grid, config)
    done = len(_completed(found))
    say(
        f"{search.measure} on {len(tasks):,} held-out playlists, {len(learned):,} to learn from; {study} holds "
        f"{done} trials; searching {', '.join(space)}"
    )
    started = time.monotonic()
    while not _ended(found, grid, budget, started):
        trial = found.ask(space)
        _run(found, trial, search)
        if _completed(found) and found.best_trial.number == trial.number:
            _write_best(found, search, out)
    if not _completed(found):
        raise NothingToLearn("no trial came to an end; give the search more time")
    _write_best(found, search, out)
    return _table(found, search.measure)


@dataclass(frozen=True)
class _Search:
    """What a trial is measured on."""

    learned: Dataset
    tasks: Sequence[Task]
    config: TrainingConfig
    measure: str

    def config_of(self, params: Mapping[str, Any]) -> TrainingConfig:
        return replace(self.config, **params)

    def measured(self, config: TrainingConfig) -> float:
        with tempfile.TemporaryDirectory(prefix="segue-tune-") as directory, quiet():
            fit_and_write(self.learned, Path(directory), "trial", replace(config, **CHEAP_INDEX), {}, None, Steps())
            recommender = Recommender.open(Path(directory))
            try:
                answers = ask(Segue(recommender), self.tasks, "asking")
            finally:
                recommender.close()
        scores = score(self.tasks, answers, track_artists(self.learned), 1)
        return float(scores.values[self.measure].mean())


def _space(dataset: Dataset, fixed: Sequence[str]) -> dict[str, BaseDistribution]:
    space = OF_ALL | (OF_TRACKS if dataset.kind == "tracks" else OF_ARTISTS) | (OF_COUNTS if dataset.listening else {})
    return {name: values for name, values in space.items() if name not in fixed}


def _grid_space(config: TrainingConfig, grid: Mapping[str, Sequence[Any]]) -> dict[str, BaseDistribution]:
    known = asdict(config)
    for name, values in grid.items():
        if name not in known:
            raise BadConfig(f"there is no number called {name!r} to search; there are: {', '.join(sorted(known))}")
        for value in values:
            replace(config, **{name: value})
    return {name: CategoricalDistribution(tuple(values)) for name, values in grid.items()}


def _study_name(
    dataset: Dataset, search: _Search, space: Mapping[str, BaseDistribution], grid: Mapping[str, Sequence[Any]]
) -> str:
    """A name that differs wherever two trials could not be compared: by data, measure, space and fixed numbers."""
    fixed = {name: value for name, value in asdict(search.config).items() if name not in space}
    told = repr((sorted(space), sorted(grid.items()), sorted(fixed.items())))
    return f"{dataset.fingerprint}-{search.measure}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _write_best(study: optuna.Study, search: _Search, out: Path) -> None:
    config = search.config_of(study.best_trial.params)
    out.write_text(format_config(config, _evidence(study, search)), encoding="utf-8")


def _open(
    path: Path,
    name: str,
    space: Mapping[str, BaseDistribution],
    grid: Mapping[str, Sequence[Any]],
    config: TrainingConfig,
) -> optuna.Study:
    """The study called *name* in *path*; different data, or another grid, have a study of their own there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}", study_name=name, direction="maximize", load_if_exists=True
        )
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} cannot be used to keep trials: {reason}; name another place with --study") from error
    # A search that goes on must not draw again what it drew before.
    study.sampler = TPESampler(seed=config.seed + len(study.trials), multivariate=True)
    if grid:
        for params in _untried(study, grid):
            study.enqueue_trial(params)
    elif not study.trials:  # begin where we are
        study.enqueue_trial({key: value for key, value in asdict(config).items() if key in space})
    return study


def _untried(study: optuna.Study, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The combinations of *grid* that no trial has tried or is about to; a trial that was killed has not."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING)
    trials = study.get_trials(deepcopy=False, states=states)
    tried = [trial.params or trial.system_attrs["fixed_params"] for trial in trials]
    combinations = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return [params for params in combinations if params not in tried]


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _ended(study: optuna.Study, grid: Mapping[str, Sequence[Any]], budget: Budget, started: float) -> bool:
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if grid and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return True
    if budget.trials is not None and len(ended) >= budget.trials:
        return True
    return budget.minutes is not None and time.monotonic() - started > 60 * budget.minutes


def _run(study: optuna.Study, trial: Trial, search: _Search) -> None:
    started = time.monotonic()
    try:
        value = search.measured(search.config_of(trial.params))
    except BadConfig as error:
        study.tell(trial, state=TrialState.PRUNED)
        say(f"trial {trial.number}: {error}")
        return
    study.tell(trial, value)
    best = study.best_trial
    told = " ".join(f"{name}={_plain(number)}" for name, number in trial.params.items())
    say(
        f"trial {trial.number}: {value:.4f} in {time.monotonic() - started:.0f} s, best {best.value:.4f} "
        f"of trial {best.number} | {told}"
    )


def _evidence(study: optuna.Study, search: _Search) -> str:
    best = study.best_trial
    return (
        f"found by `python -m trainer tune`: {search.measure} {best.value:.4f} on {len(search.tasks):,} held-out "
        f"playlists,\ntrial {best.number} of the {len(_completed(study))} so far; "
        f"data {study.study_name.partition('-')[0]}"
    )


def _table(study: optuna.Study, measure: str, most: int = 10) -> str:
    best = sorted(_completed(study), key=lambda trial: (-(trial.value or 0), trial.number))[:most]
    names = list(best[0].params)
    lines = [f"{'trial':>6}{measure:>12}" + "".join(f"{name:>16}" for name in names)]
    for trial in best:
        cells = "".join(f"{_plain(trial.params.get(name, '')):>16}" for name in names)
        lines.append(f"{trial.number:>6}{trial.value:>12.4f}{cells}")
    return "\n".join(lines)


def _plain(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else str(number)
