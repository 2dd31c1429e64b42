"""A member and its competition as in the resolved config of a run folder, which needs no other file."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from podium.config.competition import Competition
from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.config.problems import problems_of
from podium.config.settings import Settings
from podium.errors import RunError
from podium.runs import CONFIG_TYPES, Run, has_types
from podium.yaml_text import read_saved

Model = TypeVar("Model", bound=Settings)


def read_resolved(run: Run) -> dict[str, Any]:
    """The content of config.yaml."""
    content = read_saved(run.config)
    if (
        isinstance(content, dict)
        and {"name", "member", "competition", "fold"} <= content.keys()
        and has_types(content, CONFIG_TYPES)
    ):
        return content
    if isinstance(content, dict) and "detector" in content:
        raise RunError(
            f"{run.path} is the run of a detector; expected that of a member or a blend: the page of podium report"
            " shows the worst images of a detector"
        )
    raise RunError(f"{run.config} is missing or damaged; expected the resolved config of a run: restore a copy of it")


def resolved_member(run: Run) -> Member:
    content = read_resolved(run)
    settings = validated(MemberSettings, content["member"], run.config)
    return Member(content["name"], settings, validated(Competition, content["competition"], run.config))


def resolved_competition(run: Run) -> Competition:
    return validated(Competition, read_resolved(run)["competition"], run.config)


def validated(model: type[Model], content: Any, path: Path) -> Model:
    """Settings in a file of a run."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        key, message = problems_of(error, model)[0]
        raise RunError(f"{path} cannot be used by this version of podium: {key}: {message}; train again") from None
    except OSError as error:  # a value names a file that cannot exist
        raise RunError(f"{path} is damaged: {error.filename}: {error.strerror}; restore a copy of it") from None
