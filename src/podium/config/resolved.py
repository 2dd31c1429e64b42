"""A member and its competition as in the resolved config of a run folder, which needs no other file."""

from typing import Any, TypeVar

from pydantic import ValidationError

from podium.config.competition import Competition
from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.config.problems import problems_of
from podium.config.settings import Settings
from podium.config.yaml_file import read_saved
from podium.errors import RunError
from podium.runs import Run

Model = TypeVar("Model", bound=Settings)


def read_resolved(run: Run) -> dict[str, Any]:
    """The content of config.yaml."""
    content = read_saved(run.config)
    if isinstance(content, dict) and {"name", "member", "competition", "fold"} <= content.keys():
        return content
    raise RunError(f"{run.config} is missing or damaged; expected the resolved config of a run: restore a copy of it")


def resolved_member(run: Run) -> Member:
    content = read_resolved(run)
    settings = _validated(MemberSettings, content["member"], run)
    return Member(content["name"], settings, _validated(Competition, content["competition"], run))


def resolved_competition(run: Run) -> Competition:
    return _validated(Competition, read_resolved(run)["competition"], run)


def _validated(model: type[Model], content: Any, run: Run) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        key, message = problems_of(error, model)[0]
        raise RunError(
            f"{run.config} cannot be used by this version of podium: {key}: {message}; train again"
        ) from None
