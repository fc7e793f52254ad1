from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.serve.tokens import Tokens

FIRST, SECOND, THIRD = (
    "first-token-0123456789",
    "second+token/0123456789==",
    "third~token_0123456789",
)
NONE_SENT = "a bearer token is needed; send the header Authorization: Bearer <token>"
UNKNOWN = "the bearer token is not one that is allowed here"


def asked(tokens: Tokens, token: str, scheme: str = "Bearer") -> str | None:
    return tokens.check({b"authorization": f"{scheme} {token}".encode()})


def write(file: Path, text: str, second: int) -> None:
    """As an editor or a mounted secret does, at a time of its own."""
    new = file.with_name("new")
    new.write_text(text)
    os.utime(new, (second, second))
    new.replace(file)


@pytest.mark.parametrize("environ", [{}, {"MLOPS_SERVE_TOKENS": ""}, {"MLOPS_SERVE_TOKENS": " , "}])
def test_without_tokens_everybody_may_ask(environ: dict[str, str]) -> None:
    tokens = Tokens.from_environment(environ)
    assert not tokens.needed
    assert tokens.check({}) is None
    assert asked(tokens, "anything") is None


@pytest.mark.parametrize("between", [",", " ", "\n", ", ", " ,\t"])
def test_each_of_several_tokens_is_allowed(between: str) -> None:
    listed = between.join([FIRST, SECOND, THIRD, FIRST])
    tokens = Tokens.from_environment({"MLOPS_SERVE_TOKENS": listed})
    assert tokens.needed
    assert [asked(tokens, token) for token in (FIRST, SECOND, THIRD)] == [None, None, None]
    assert [asked(tokens, FIRST, scheme) for scheme in ("bearer", "BEARER", "Bearer ")] == [
        None
    ] * 3
    assert repr(tokens) == str(tokens) == "Tokens(3)"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, NONE_SENT),
        ({b"authorization": b""}, NONE_SENT),
        ({b"authorization": FIRST.encode()}, NONE_SENT),
        ({b"authorization": b"Basic " + FIRST.encode()}, NONE_SENT),
        ({b"authorization": b"Bearer"}, NONE_SENT),
        ({b"authorization": b"Bearer "}, UNKNOWN),
        ({b"authorization": b"Bearer " + FIRST.encode()[:-1]}, UNKNOWN),
        ({b"authorization": b"Bearer " + FIRST.encode() + b"0"}, UNKNOWN),
        ({b"authorization": b"Bearer " + FIRST.upper().encode()}, UNKNOWN),
        ({b"authorization": f"Bearer {FIRST},{SECOND}".encode()}, UNKNOWN),
        ({b"authorization": b"Bearer \xff\x00"}, UNKNOWN),
    ],
)
def test_any_other_is_refused(headers: dict[bytes, bytes], reason: str) -> None:
    tokens = Tokens.from_environment({"MLOPS_SERVE_TOKENS": f"{FIRST},{SECOND}"})
    assert tokens.check(headers) == reason


@given(st.binary(max_size=60))
def test_no_other_bytes_are_a_token(sent: bytes) -> None:
    tokens = Tokens.from_environment({"MLOPS_SERVE_TOKENS": FIRST})
    allowed = sent.strip() == FIRST.encode()
    assert (tokens.check({b"authorization": b"Bearer " + sent}) is None) == allowed


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (f"{FIRST},x2345", "token 2 has 5 characters, expected 16 or more"),
        (
            "y2345678901234567é",
            "token 1 holds what a header cannot carry, expected letters, "
            "digits and -._~+/ alone, and = at its end",
        ),
    ],
)
def test_a_token_that_cannot_serve_is_refused_without_being_shown(listed: str, reason: str) -> None:
    with pytest.raises(ValueError, match="MLOPS_SERVE_TOKENS: token") as caught:
        Tokens.from_environment({"MLOPS_SERVE_TOKENS": listed})
    assert str(caught.value) == f"MLOPS_SERVE_TOKENS: {reason}"


def test_a_file_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mlops_pipelines.serve")
    file = tmp_path / "tokens"
    write(file, f"# rotated every month\n\n{FIRST}  # the old one\n", 1)
    tokens = Tokens.from_environment({"MLOPS_SERVE_TOKENS_FILE": str(file)})
    assert (asked(tokens, FIRST), asked(tokens, SECOND)) == (None, UNKNOWN)
    write(file, f"{FIRST}\n{SECOND}\n", 2)
    assert (asked(tokens, FIRST), asked(tokens, SECOND)) == (None, None)
    write(file, f"{SECOND}\r\n", 3)
    assert (asked(tokens, FIRST), asked(tokens, SECOND)) == (UNKNOWN, None)
    assert [record.getMessage() for record in caplog.records] == ["tokens_read"] * 2


def test_a_file_that_cannot_be_used_keeps_the_last_tokens_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mlops_pipelines.serve")
    file = tmp_path / "tokens"
    write(file, FIRST, 1)
    tokens = Tokens.from_environment({"MLOPS_SERVE_TOKENS_FILE": str(file)})
    wanted = []
    file.unlink()
    wanted.append("cannot be read: No such file or directory")
    assert [asked(tokens, FIRST) for _ in range(3)] == [None] * 3
    for second, (text, reason) in enumerate(
        [
            ("", "holds no token; expected one in a line"),
            ("# nothing\n", "holds no token; expected one in a line"),
            ("short\n", "token 1 has 5 characters, expected 16 or more"),
        ],
        2,
    ):
        write(file, text, second)
        assert [asked(tokens, token) for token in (FIRST, FIRST, "short")] == [None, None, UNKNOWN]
        wanted.append(reason)
    said = [record.fields for record in caplog.records if record.levelname == "ERROR"]
    assert [fields["in_force"] for fields in said] == [1] * 4
    assert all(f"{file}" in fields["reason"] for fields in said)
    assert all(
        fields["reason"].endswith(reason) for fields, reason in zip(said, wanted, strict=True)
    )
    write(file, SECOND, 9)
    assert (asked(tokens, FIRST), asked(tokens, SECOND)) == (UNKNOWN, None)
    assert FIRST not in caplog.text and "short" not in str(said)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        ("# none yet\n", "holds no token; expected one in a line"),
        ("secret\n", "token 1 has 6 characters, expected 16 or more"),
    ],
)
def test_a_file_that_cannot_be_used_at_the_start_is_refused(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    file = tmp_path / "tokens"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match="MLOPS_SERVE_TOKENS_FILE: ") as caught:
        Tokens.from_environment({"MLOPS_SERVE_TOKENS_FILE": str(file)})
    assert str(caught.value).endswith(reason)
    assert "secret" not in str(caught.value)


def test_a_variable_and_a_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are both set; set one of them"):
        Tokens.from_environment(
            {"MLOPS_SERVE_TOKENS": FIRST, "MLOPS_SERVE_TOKENS_FILE": str(tmp_path / "tokens")}
        )
