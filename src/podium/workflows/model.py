"""The Keras model of a member, for use without podium's training."""

from pathlib import Path
from typing import Any

from podium.config.loading import Member
from podium.training.run_training import import_libraries
from podium.workflows.configs import load_member


def build_model(member: Member | str | Path, *, image_size: int | None = None, pretrained: bool = True) -> Any:
    """Build the Keras model of a member.

    It takes uint8 or float images of 0 to 255 with shape (batch, height, width, channels), scales them as its backbone
    expects, and returns predictions of the competition's target, such as a probability for each class. It is not
    compiled. If the member takes metadata, its inputs are the images and an array of shape (batch, columns) of numbers
    and of positions of categories in their lists, NaN for what is missing or unknown.

    Args:
        member: From `load_member` or `make_member`, or a member file.
        image_size: Height and width of the images. By default those of the last stage.
        pretrained: Load the weights that the config names; otherwise they are random.
    """
    import_libraries(to_fork=False)
    from podium.data.metadata import Metadata
    from podium.data.targets import target_of
    from podium.models.classifier import build_classifier

    loaded = member if isinstance(member, Member) else load_member(member)
    settings, competition = loaded.settings, loaded.competition
    return build_classifier(
        settings,
        target_of(competition),
        image_size or settings.stages[-1].image_size,
        metadata=Metadata.of(settings.metadata, competition),
        pretrained=pretrained,
        channels=competition.reading.channels,
    )
