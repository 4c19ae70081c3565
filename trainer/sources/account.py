"""Accounts of sources: the format, the columns and the records that were read, and everything that was not."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trainer.errors import BadInput

MOST_PLACES = 3
MOST_LISTED = 20
WIDTH = 80


@dataclass
class Odd:
    """The records that were passed over for one reason: their number, and the places of the first ones."""

    n: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, n: int, places: Iterable[str]) -> None:
        self.n += n
        self.places = [*self.places, *places][:MOST_PLACES]


@dataclass
class Account:
    """
    The account of a source: how it was understood. It is complete once the source is read.

    Attributes:
        format: name of the recognised format, such as "Exportify" or "table (csv)".
        columns: the column for each role.
        unused: the columns without a role.
        records: number of rows, tracks or listens that were read, odd and skipped ones included.
        unit: the word for the records.
        notes: remarks for the user.
        odd: the records that were passed over because something is wrong with them, by reason.
        mended: the records that are used in spite of a fault, by fault.
        skipped: numbers of sound records that a rule leaves out, such as a count of 0, by reason.
    """

    format: str
    columns: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    records: int = 0
    unit: str = "rows"
    notes: list[str] = field(default_factory=list)
    odd: dict[str, Odd] = field(default_factory=dict)
    mended: dict[str, Odd] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def pass_over(self, reason: str, place: str, n: int = 1) -> None:
        """
        Count *n* odd records, which are not used.

        Args:
            reason: the fault, such as "no track id".
            place: the place of the first of them in the source, such as "row 7".
            n: their number.
        """
        self.odd.setdefault(reason, Odd()).add(n, [place])

    def mend(self, fault: str, place: str, n: int = 1) -> None:
        """Count *n* records that are used in spite of a *fault*; the first is at *place*."""
        self.mended.setdefault(fault, Odd()).add(n, [place])

    def skip(self, reason: str, n: int) -> None:
        """Count *n* sound records that a rule leaves out; *reason* is that rule, such as "a count of 0"."""
        if n:
            self.skipped[reason] = self.skipped.get(reason, 0) + n

    @property
    def n_odd(self) -> int:
        """The number of odd records."""
        return sum(odd.n for odd in self.odd.values())

    @property
    def understood(self) -> tuple[Any, ...]:
        """The part of the account that files of one kind share."""
        return self.format, self.unit, tuple(self.columns.items()), tuple(self.unused)


@dataclass(frozen=True)
class PassedOver:
    """
    Files that were not read for one reason.

    Attributes:
        path: the first of them.
        reason: a sentence, such as "its format is unknown."
        files: their number.
    """

    path: str
    reason: str
    files: int = 1

    def __str__(self) -> str:
        more = f" and {self.files - 1:,} more file{'s' * (self.files > 2)}" if self.files > 1 else ""
        return f"passed over {self.path}{more}: {self.reason}"


@dataclass(frozen=True)
class Group:
    """
    The files of one input that were understood alike.

    Attributes:
        path: the input, or the file if it is the only one.
        files: number of files.
        account: the sum of their accounts.
    """

    path: str
    files: int
    account: Account

    def lines(self) -> list[str]:
        """Return the account as lines of text for a terminal."""
        facts = (f"{label} {fact}".lstrip() for label, facts in self.facts().items() for fact in facts)
        return [f"{self.path}: {self.summary}", *_filled(facts)]

    @property
    def summary(self) -> str:
        """The format and the sizes in a few words."""
        files = f", {self.files:,} files" if self.files > 1 else ""
        return f"{self.account.format}{files}, {self.account.records:,} {self.account.unit}"

    def facts(self) -> dict[str, list[str]]:
        """Return the other facts for a reader, by label; those without any are left out."""
        account = self.account
        facts = {
            "columns:": [_listed([f"{role}={column}" for role, column in account.columns.items()])],
            "unused columns:": [_listed(account.unused)],
            "passed over": list(_reasons(account.odd)),
            "mended": list(_reasons(account.mended)),
            "left out": [f"{n:,}: {reason}" for reason, n in account.skipped.items()],
            "": account.notes[:MOST_LISTED],
        }
        return {label: found for label, found in facts.items() if any(found)}

    def content(self) -> dict[str, Any]:
        """Return the account as values that JSON can hold."""
        return {"path": self.path, "files": self.files, **asdict(self.account)}


def group(path: str, accounts: Sequence[tuple[str, Account]]) -> list[Group]:
    """Return the *accounts* of the files of the input *path*, each with the name of its file, by their kind."""
    kinds: dict[tuple[Any, ...], list[tuple[str, Account]]] = {}
    for name, account in accounts:
        kinds.setdefault(account.understood, []).append((name, account))
    return [_group(path, named) for named in kinds.values()]


def check(path: str, groups: Sequence[Group], max_odd: float) -> None:
    """Raise BadInput if more than *max_odd*, a share of all records of the input *path*, are odd."""
    n_odd = sum(group.account.n_odd for group in groups)
    n_records = sum(group.account.records for group in groups)
    if n_odd > max_odd * n_records:
        units = {group.account.unit for group in groups}
        unit = units.pop() if len(units) == 1 else "records"
        raise BadInput(
            f"cannot read {_printable(path)}: {n_odd:,} of {n_records:,} {unit} are odd, "
            f"{'; '.join(_faults(groups))}. Correct them, or accept a larger share with --max-odd."
        )


def by_reason(passed: Iterable[PassedOver]) -> list[PassedOver]:
    """Return one entry for each reason of *passed*."""
    files: dict[str, list[str]] = {}
    for one in passed:
        files.setdefault(one.reason, []).append(one.path)
    return [PassedOver(_printable(paths[0]), reason, len(paths)) for reason, paths in files.items()]


def _group(path: str, named: Sequence[tuple[str, Account]]) -> Group:
    if len(named) > 1:
        return Group(_printable(path), len(named), _sum(path, named))
    (name, account), *_ = named
    return Group(_printable(name), 1, account)


def _sum(path: str, named: Sequence[tuple[str, Account]]) -> Account:
    first = named[0][1]
    total = Account(first.format, first.columns, first.unused, unit=first.unit)
    for name, account in named:
        file = _printable(name.removeprefix(path).lstrip("/"))
        total.records += account.records
        total.notes += [note for note in account.notes if note not in total.notes]
        for counted, added in ((total.odd, account.odd), (total.mended, account.mended)):
            for reason, odd in added.items():
                counted.setdefault(reason, Odd()).add(odd.n, (f"{file} {place}" for place in odd.places))
        for reason, n in account.skipped.items():
            total.skip(reason, n)
    return total


def _listed(names: Sequence[str]) -> str:
    """Join *names* by commas, with a backslash before the commas in a name, as `--columns` takes them."""
    more = [f"{len(names) - MOST_LISTED} more"] if len(names) > MOST_LISTED else []
    return ", ".join([*(name.replace("\\", "\\\\").replace(",", "\\,") for name in names[:MOST_LISTED]), *more])


def _printable(path: str) -> str:
    """Return *path* with escapes for bytes that are not UTF-8: neither JSON nor a log can hold them."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _faults(groups: Sequence[Group]) -> Iterator[str]:
    """Yield the faults of *groups*, each with the files if there are several groups."""
    for group in groups:
        files = f"{group.path}, " if len(groups) > 1 else ""
        yield from (f"{files}{reason}" for reason in _reasons(group.account.odd))


def _reasons(odds: Mapping[str, Odd]) -> Iterator[str]:
    for reason, odd in odds.items():
        more = ["..."] if len(odd.places) == MOST_PLACES < odd.n else []
        yield f"{odd.n:,}: {reason} ({', '.join([*odd.places, *more])})"


def _filled(texts: Iterable[str]) -> list[str]:
    """Return *texts* as lines of a terminal, indented; names are not broken."""
    form = {"initial_indent": "  ", "subsequent_indent": "    ", "break_long_words": False, "break_on_hyphens": False}
    return [line for text in texts for line in textwrap.wrap(text, WIDTH, **form)]  # type: ignore[arg-type]
