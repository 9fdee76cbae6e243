"""Reading a TOML file into a pydantic model, with errors that name file, key, value and remedy."""

import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from streamer.errors import ConfigError, nearest


class Section(BaseModel):
    """A table of a configuration file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path, model: type[Model]) -> Model:
    """Read and validate a TOML file.

    Raises:
        ConfigError: the file can't be read, is no TOML, or does not fit the model.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(path, "", f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", f"is not UTF-8 text: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "", f"is not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(path, "", "is nested too deeply; no setting is") from error
    return validate(path, model, content)


def validate(path: Path, model: type[Model], content: object, prefix: str = "") -> Model:
    """Validate what came from `path` under the key `prefix`.

    Raises:
        ConfigError: it does not fit; the first fault is told.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join([*([prefix] if prefix else []), *map(str, fault["loc"])])
        raise ConfigError(path, place, _explain(fault, model)) from error


def first_fault(error: ValidationError) -> str:
    """Return where the first fault is, if it is in a part, and what it is."""
    fault = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))


def _explain(fault: ErrorDetails, model: type[BaseModel]) -> str:
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, fault["loc"][:-1])
        meant = nearest(str(fault["loc"][-1]), known)
        return f"unknown key (value {fault['input']!r}); {meant}"
    if fault["type"] == "missing":
        return "is missing"
    if isinstance(fault["input"], dict):
        return fault["msg"].removeprefix("Value error, ")
    return f"{fault['input']!r} is not right: {fault['msg']}"


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    at: Any = model
    for step in location:
        if _is_model(at):
            field = at.model_fields.get(str(step))
            at = None if field is None else field.annotation
        else:
            at = _table_in(at)
        if isinstance(at, UnionType):
            at = _table_in(at)
    return sorted((at if _is_model(at) else model).model_fields)


def _table_in(annotation: Any) -> Any:  # noqa: ANN401 - annotations are of no common type
    """Return the model of `Model | None`, or of `dict[str, Model]`."""
    return next(filter(_is_model, get_args(annotation)), None)


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
