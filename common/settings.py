"""Strict reading of TOML tables: unknown keys refused with a guess, every message naming file, table and key."""

import difflib
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import ConfigError


def nearest(wanted: str, known: Collection[str]) -> str:
    """A hint: the known word that looks most like `wanted`, if one does, and all of them."""
    near = difflib.get_close_matches(wanted, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}known: {', '.join(known) or 'none'}"


class Table:
    """One table of a TOML file, read key by key; each reader raises ConfigError for a value it does not take."""

    def __init__(self, where: str, content: object) -> None:
        if not isinstance(content, dict):
            raise ConfigError(f"{where} is {content!r}, not a table", hint=f"write it as [{where.rsplit(' ', 1)[-1]}]")
        self.where = where
        self._content: dict[str, object] = content

    @classmethod
    def of_file(cls, path: Path) -> "Table":
        """The top table of a TOML file. ConfigError: it is missing, or TOML cannot read it."""
        try:
            return cls(path.name, tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as err:
            raise ConfigError(f"{str(path)!r} is missing", hint=f"git checkout -- {path.name}") from err
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise ConfigError(f"{path.name} is not TOML: {err}", hint="correct the line it names") from err

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def keys(self) -> list[str]:
        """Its keys, in the order of the file."""
        return list(self._content)

    def refuse_unknown(self, known: Sequence[str]) -> None:
        """Refuse a key nobody reads, with the nearest that somebody does."""
        for key in self._content:
            if key not in known:
                raise ConfigError(f"{self.where}: unknown key {key!r}", hint=nearest(key, known))

    def table(self, key: str) -> "Table":
        """The table `key`, empty where there is none."""
        return Table(f"{self.where} {key}", self._content.get(key, {}))

    def word(self, key: str, *, choices: Sequence[str]) -> str:
        """A string that has to be one of `choices`."""
        return self._choice(key, self._wanted(key), choices)

    def number(self, key: str) -> int:
        """A whole number above zero."""
        value = self._wanted(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{self.where}: {key} is {value!r}, not a number above 0", hint=f"{key} = 72")
        return value

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self._wanted(key)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {key} is {value!r}, not true or false", hint=f"{key} = true")
        return value

    def words(self, key: str, *, choices: Sequence[str]) -> tuple[str, ...]:
        """A list of different strings out of `choices`, at least one, in the order of the file."""
        value = self._wanted(key)
        if not isinstance(value, list) or not value:
            raise ConfigError(
                f"{self.where}: {key} is {value!r}, not a list of words", hint=f'{key} = ["{choices[0]}"]'
            )
        words = tuple(self._choice(key, word, choices) for word in value)
        for word in words:
            if words.count(word) > 1:
                raise ConfigError(f"{self.where}: {key} has {word!r} twice", hint="leave one of the two out")
        return words

    def text(self, key: str) -> str:
        """Any string that is not empty."""
        value = self._wanted(key)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{self.where}: {key} is {value!r}, not a text", hint=f'{key} = "..."')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of any strings; empty where the key is missing."""
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise ConfigError(f"{self.where}: {key} is {value!r}, not a list of texts", hint=f'{key} = ["..."]')
        return tuple(value)

    def _wanted(self, key: str) -> object:
        if key not in self._content:
            raise ConfigError(f"{self.where}: {key!r} is missing", hint=f"add a line {key} = ...")
        return self._content[key]

    def _choice(self, key: str, value: object, choices: Sequence[str]) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{self.where}: unknown {key} {value!r}", hint=nearest(str(value), choices))
        return value
