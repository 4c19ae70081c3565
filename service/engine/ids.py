"""The one rule for text around ids, in tables and blocklists alike."""

import re

QUOTED = re.compile('"([^"]+)"')  # quotes inside are part of the id, as in "Weird Al" Yankovic - "Eat It"


def bare_id(text: str) -> str:
    """Return *text* without blanks, and without one pair of double quotes, around it."""
    text = text.strip()
    if '"' not in text:  # nearly all
        return text
    quoted = QUOTED.fullmatch(text)
    return quoted[1].strip() if quoted else text
