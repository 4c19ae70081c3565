"""Accounts: odd records by reason and place, files of one kind as one, and the share that is accepted."""

import pytest

from trainer.errors import BadInput
from trainer.sources.account import Account, PassedOver, by_reason, check, group


def an_account(n_odd: int = 0, records: int = 100, **facts: object) -> Account:
    account = Account("table (csv)", {"playlist": "user"}, records=records, **facts)  # type: ignore[arg-type]
    for row in range(1, n_odd + 1):
        account.pass_over("no track id", f"row {row}")
    return account


def test_odd_records_are_counted_and_the_first_three_are_named():
    (only,) = group("a.csv", [("a.csv", an_account(5))])

    assert "  passed over 5: no track id (row 1, row 2, row 3, ...)" in only.lines()


def test_files_of_one_kind_are_one_group_whose_places_name_the_file():
    (only,) = group("data", [("data/a.csv", an_account(1)), ("data/b.csv", an_account(1))])

    assert only.lines()[0] == "data: table (csv), 2 files, 200 rows"
    assert "  passed over 2: no track id (a.csv row 1, b.csv row 1)" in only.lines()


def test_files_of_different_columns_are_different_groups():
    found = group("data", [("data/a.csv", an_account()), ("data/b.csv", an_account(unused=["year"]))])

    assert [one.lines()[0] for one in found] == [
        "data/a.csv: table (csv), 100 rows",
        "data/b.csv: table (csv), 100 rows",
    ]


def test_skipped_records_of_several_files_are_added_up_and_are_not_odd():
    accounts = [("d/a", an_account()), ("d/b", an_account())]
    for _, account in accounts:
        account.skip("a count of 0", 40)
        account.skip("a short listen", 0)

    (only,) = group("d", accounts)

    check("d", [only], 0)
    assert only.lines()[-1] == "  left out 80: a count of 0"


def test_a_larger_share_of_odd_records_than_accepted_is_an_error_with_the_reason_and_place():
    (only,) = group("a.csv", [("a.csv", an_account(2))])

    check("a.csv", [only], 0.02)
    with pytest.raises(BadInput, match=r"a.csv: 2 of 100 rows are odd, 2: no track id \(row 1, row 2\).*--max-odd"):
        check("a.csv", [only], 0.019)


def test_the_share_is_that_of_all_records_of_an_input_whatever_their_kinds():
    lone = an_account(1, records=1, unit="tracks")
    groups = group("d", [("d/a.csv", an_account()), ("d/b.csv", an_account(1)), ("d/c.xspf", lone)])

    check("d", groups, 0.01)
    with pytest.raises(BadInput) as refused:
        check("d", groups, 0.009)
    assert str(refused.value).startswith("cannot read d: 2 of 201 records are odd, d, 1: no track id (b.csv row 1); ")
    assert "d/c.xspf, 1: no track id (row 1)." in str(refused.value)


def test_long_lists_fit_a_terminal_and_names_stay_whole():
    names = [f"Column-number {i}" for i in range(30)]
    (only,) = group("a.csv", [("a.csv", an_account(unused=names))])

    assert max(map(len, only.lines())) <= 80
    assert " ".join(line.strip() for line in only.lines()).endswith("Column-number 18, Column-number 19, 10 more")


def test_names_of_files_that_are_not_utf8_can_be_printed_and_written():
    several = [("d/\udcff.csv", an_account(1)), ("d/b.csv", an_account())]

    said = [*group("d", several)[0].lines(), *group("d", several[:1])[0].lines()]
    said.append(str(by_reason([PassedOver("d/\udcff.csv", "it is empty.")])[0]))

    assert sum(r"\xff.csv" in line.encode().decode() for line in said) == 3


def test_a_comma_in_the_name_of_a_column_is_told_from_those_between_columns():
    (only,) = group("a.csv", [("a.csv", an_account(unused=["a, b", "c"]))])

    assert r"  unused columns: a\, b, c" in only.lines()
