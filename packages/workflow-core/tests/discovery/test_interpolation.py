import pytest
from workflow_core.discovery.interpolation import InterpolationError, interpolate

ENVIRON = {"HOST": "db", "EMPTY": "", "ODD": "a\\1${HOST}"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${HOST}", "db"),
        ("x://${HOST}:1/${HOST}", "x://db:1/db"),
        ("${EMPTY}", ""),
        ("$HOST costs $5 {HOST}", "$HOST costs $5 {HOST}"),
        ("$${HOST}", "${HOST}"),
        ("$${${HOST}}", "${db}"),
        ("${ODD}", "a\\1${HOST}"),  # what a variable holds is not read again
    ],
)
def test_variable_is_filled_in(text: str, filled: str) -> None:
    assert interpolate(text, ENVIRON).value == filled


def test_variables_are_filled_in_however_deep_and_are_named() -> None:
    filled = interpolate({"a": ["${HOST}", 1], "b": {"c": "${EMPTY}${HOST}"}}, ENVIRON)
    assert filled.value == {"a": ["db", 1], "b": {"c": "db"}}
    assert filled.variables == ("HOST", "EMPTY")


def test_missing_variable_is_named() -> None:
    with pytest.raises(InterpolationError, match=r"no variable NOPE$"):
        interpolate("pw-${NOPE}", ENVIRON)


@pytest.mark.parametrize(
    "text", ["pw${", "pw${HOST", "pw${}", "pw${HOST:-x}", "pw${1A}", "pw${A B}"]
)
def test_malformed_reference_is_refused_without_telling_the_text(text: str) -> None:
    with pytest.raises(InterpolationError, match="only") as caught:
        interpolate(text, ENVIRON)
    assert "pw" not in str(caught.value)
