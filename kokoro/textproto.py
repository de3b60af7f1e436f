"""Kokoro's .cfg files, in protobuf's text format: errors point at the place, unknown fields are named."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_format

from common.errors import ConfigError
from common.settings import nearest
from kokoro.build_config_pb2 import BuildConfig as Proto

if TYPE_CHECKING:
    from google._upb._message import Descriptor as UpbDescriptor  # what the compiled protobuf runtime hands out
    from google.protobuf.descriptor import Descriptor as PythonDescriptor

    Descriptor = PythonDescriptor | UpbDescriptor

_CLOSING = {"{": "}", "<": ">"}
# Far above what any .cfg needs, far below where the parser runs into Python's own limit.
_MAX_DEPTH = 50
_WORD = re.compile(r"[+.-]*[0-9A-Za-z_][0-9A-Za-z_+.-]*")
_HINT = "write `field: value` or `field { ... }`, strings in quotes, comments after #"


@dataclass(frozen=True)
class UnknownField:
    """A field the schema does not have, the message it stands in, and its line (from 1)."""

    line: int
    name: str
    message: str
    hint: str


def parse(path: Path) -> tuple[Proto, list[UnknownField]]:
    """Read one file.

    Returns:
        What it says, and the fields it says nothing of: they are skipped.

    Raises:
        ConfigError: it is missing, or cannot be parsed; names file, line and column.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as err:
        raise ConfigError(f"{str(path)!r} is missing", hint="a build is NAME.cfg, NAME.sh and NAME.py") from err
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: byte 0x{err.object[err.start]:02x} is not UTF-8", hint="save it as UTF-8"
        ) from err
    try:
        _refuse_depth(text)
        proto = text_format.Parse(text, Proto(), allow_unknown_field=True)
        return proto, list(_unknown(_tokens(text), Proto.DESCRIPTOR, ""))
    except text_format.ParseError as err:
        raise _located(path, text, _with_place(text, err)) from err


def _with_place(text: str, err: text_format.ParseError) -> text_format.ParseError:
    """The error with a place: the parser gives none for what it finds while it skips an unknown field."""
    if err.GetLine() is None:
        try:
            list(_unknown(_tokens(text), Proto.DESCRIPTOR, ""))
        except text_format.ParseError as found:
            return found
    return err


def _located(path: Path, text: str, err: text_format.ParseError) -> ConfigError:
    """The parser's error, with the place and the line it stands for."""
    line, column = err.GetLine(), err.GetColumn()
    if line is None:
        return ConfigError(f"{path}: {err}", hint=_HINT)
    lines = text.split("\n")
    said = lines[line - 1] if line <= len(lines) else ""
    reason = str(err).removeprefix(f"{line}:{column} : ").removeprefix(f"'{said}': ")
    return ConfigError(
        f"{path}:{line}:{column}: {reason}", details=f"{said}\n{' ' * ((column or 1) - 1)}^" if said else "", hint=_HINT
    )


def _tokens(text: str) -> text_format.Tokenizer:
    return text_format.Tokenizer(text.split("\n"))


def _refuse_depth(text: str) -> None:
    """Refuse a file nested so deeply that the recursive parser would give up in its own, worse words."""
    tokens, depth = _tokens(text), 0
    while not tokens.AtEnd():
        depth += (tokens.token in _CLOSING) - (tokens.token in _CLOSING.values())
        if depth > _MAX_DEPTH:
            raise _error_here(tokens, f"more than {_MAX_DEPTH} messages inside each other")
        tokens.NextToken()


def _error_here(tokens: text_format.Tokenizer, reason: str) -> text_format.ParseError:
    error: text_format.ParseError = tokens.ParseError(reason)  # type: ignore[arg-type]  # the stub says Message
    return error


def _unknown(tokens: text_format.Tokenizer, known: "Descriptor | None", closing: str) -> Iterator[UnknownField]:
    """The unknown fields of one message of a text that has been parsed; `known` is None inside an unknown one."""
    while not tokens.AtEnd() and not (closing and tokens.TryConsume(closing)):
        line = _error_here(tokens, "").GetLine() or 0
        name = _field_name(tokens)
        field = known.fields_by_name.get(name) if known else None
        if known and field is None:
            yield UnknownField(line, name, known.name, nearest(name, list(known.fields_by_name)))
        tokens.TryConsume(":")
        yield from _values(tokens, field.message_type if field else None)
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")


def _values(tokens: text_format.Tokenizer, known: "Descriptor | None") -> Iterator[UnknownField]:
    """Go over a field's value: a scalar, a message, or a list of either."""
    if tokens.TryConsume("["):
        while not tokens.TryConsume("]"):
            if tokens.AtEnd():
                raise _error_here(tokens, "a list is not closed")
            yield from _values(tokens, known)
            tokens.TryConsume(",")
    elif tokens.token in _CLOSING:
        closing = _CLOSING[tokens.token]
        tokens.NextToken()
        yield from _unknown(tokens, known, closing)
    elif not tokens.TryConsumeByteString():  # several strings in a row are one
        if not _WORD.fullmatch(tokens.token):
            raise _error_here(tokens, f"{tokens.token!r} is not a value")
        tokens.NextToken()


def _field_name(tokens: text_format.Tokenizer) -> str:
    """A field's name, or an extension's in its brackets."""
    if not tokens.TryConsume("["):
        name = tokens.token
        tokens.NextToken()
        return name
    words = []
    while not tokens.AtEnd() and not tokens.TryConsume("]"):
        words.append(tokens.token)
        tokens.NextToken()
    return f"[{''.join(words)}]"
