"""The search for the best numbers for the data, by Optuna or over a grid."""

import fcntl
import hashlib
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from service.engine import WEIGHTINGS, Recommender
from trainer.config import TrainingConfig, format_config
from trainer.dataset import Dataset
from trainer.errors import BadConfig, BadInput, NothingToLearn
from trainer.evaluation.answers import Segue, ask
from trainer.evaluation.scores import score
from trainer.evaluation.split import split
from trainer.evaluation.tasks import Task
from trainer.fitting.fit import fit_and_write
from trainer.progress import quiet, say
from trainer.ranking.teach import teach
from trainer.timing import Stopwatch

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

# A trial teaches a ranker only if one of these is searched for: the others are found sooner by the first stage alone.
OF_RANKER = frozenset(
    ("ranker_playlists", "ranker_networks", "ranker_steps", "kept_playlists", "postings", "nearest", "title_axes")
)


@dataclass(frozen=True)
class Budget:
    """The limits of a search: trials in total, and minutes of this run; the first one that is reached ends it."""

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
    Search for the numbers that continue held-out playlists best, and write the best so far to *out*.

    The playlists that `evaluate` asks for are set aside first, so that nothing is tuned on them. The trials are kept in
    *study*; a search that ended continues from there.

    Args:
        dataset: the data.
        config: the numbers to start with, and those that are not searched for.
        fixed: the names of numbers that keep their values of *config*.
        grid: the values to try of each number, in every combination. Empty to let Optuna choose.
        budget: the limits of the search.
        study: an SQLite file.
        out: the config file to write.

    Returns:
        The best trials as a table.

    Raises:
        BadConfig: *grid* has an unknown name, or a value out of its range.
        NothingToLearn: there are too few playlists, or no trial was completed.
        BadInput: *study* cannot be opened, or is another kind of file.
        OSError: *study* or *out* cannot be written.
    """
    rest, _ = split(dataset, config.seed)
    learned, tasks = split(rest, config.seed)
    space = _grid_space(config, grid) if grid else _space(dataset, fixed)
    search = _Search(
        learned, tasks, config, "ndcg_at_10" if dataset.listening else "ndcg", bool(space.keys() & OF_RANKER)
    )
    found = _open(study, _study_name(dataset, search, space, grid), space, grid, config)
    done = len(_completed(found))
    say(
        f"{search.measure} on {len(tasks):,} held-out playlists, {len(learned):,} to learn from; {study} holds "
        f"{done} trials; searching {', '.join(space)}, {'ranked' if search.ranked else 'by the first stage alone'}"
    )
    started = time.monotonic()
    while not _ended(found, grid, budget, started):
        trial = found.ask(space)
        _run(found, trial, search)
        if _completed(found) and found.best_trial.number == trial.number:
            _write_best(found, search, out)
    if not _completed(found):
        raise NothingToLearn("no trial was completed; raise --minutes or --trials")
    _write_best(found, search, out)
    return _table(found, search.measure)


@dataclass(frozen=True)
class _Search:
    """The data and the measure of all trials, and whether each teaches a ranker."""

    learned: Dataset
    tasks: Sequence[Task]
    config: TrainingConfig
    measure: str
    ranked: bool

    def config_of(self, params: Mapping[str, Any]) -> TrainingConfig:
        return self.config.changed(params)

    def measured(self, config: TrainingConfig) -> float:
        with tempfile.TemporaryDirectory(prefix="segue-tune-") as directory, quiet():
            cheap = config.without_indexes()
            taught = teach(self.learned, cheap) if self.ranked else None
            ranker = taught.ranker if taught else None
            fit_and_write(self.learned, Path(directory), "trial", cheap, {}, None, Stopwatch(), ranker)
            with closing(Recommender.open(Path(directory))) as recommender:
                answers = ask(Segue(recommender), self.tasks, "asking")
        scores = score(self.tasks, answers, self.learned.vocabulary.artists_by_track(), 1)
        return float(scores.values[self.measure].mean())


def _space(dataset: Dataset, fixed: Sequence[str]) -> dict[str, BaseDistribution]:
    space = OF_ALL | (OF_TRACKS if dataset.kind == "tracks" else OF_ARTISTS) | (OF_COUNTS if dataset.listening else {})
    return {name: values for name, values in space.items() if name not in fixed}


def _grid_space(config: TrainingConfig, grid: Mapping[str, Sequence[Any]]) -> dict[str, BaseDistribution]:
    for name, values in grid.items():
        for value in values:
            config.changed({name: value})
    return {name: CategoricalDistribution(tuple(values)) for name, values in grid.items()}


def _study_name(
    dataset: Dataset, search: _Search, space: Mapping[str, BaseDistribution], grid: Mapping[str, Sequence[Any]]
) -> str:
    """Name a study by data, measure, space and fixed numbers: only trials that agree in these are comparable."""
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
    """Open the study called *name* in *path*, which may contain others."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}", study_name=name, direction="maximize", load_if_exists=True
        )
    except SQLAlchemyError as error:
        reason = _lock_failure(path) or f"{str(error).splitlines()[0]}; choose another file with --study"
        raise BadInput(f"{path} cannot be used for the trials: {reason}") from error
    # A continued search must not repeat its random numbers.
    study.sampler = TPESampler(seed=config.seed + len(study.trials), multivariate=True)
    if grid:
        for params in _untried(study, grid):
            study.enqueue_trial(params)
    elif not study.trials:  # start with the given numbers
        study.enqueue_trial({key: value for key, value in asdict(config).items() if key in space})
    return study


def _lock_failure(path: Path) -> str | None:
    """Return the reason and the remedy if *path* cannot be locked; SQLite calls that `database is locked`."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # another process holds the lock
            return None
        except OSError as error:
            return f"it cannot be locked: {error.strerror}; choose a file on a disk with file locks with --study"
    return None


def _untried(study: optuna.Study, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the combinations of *grid* that are neither tried nor waiting; a killed trial counts as not tried."""
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
    except BadConfig as error:  # the fit diverged
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
