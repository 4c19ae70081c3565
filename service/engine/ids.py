"""The one rule for text around ids, in tables and blocklists alike."""


def bare_id(text: str) -> str:
    """Return *text* without blanks, and without one pair of double quotes, around it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == '"' else text
