"""Text that is safe to print: a name from data could carry control sequences that repaint the terminal."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """The text with everything but printable characters and those to `keep` replaced by question marks."""
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    return "".join(character if character.isprintable() or character in keep else "?" for character in text)
