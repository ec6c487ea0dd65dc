"""What `auto` stands for in a study's precisions: resolved once, and recorded in its directory."""

from __future__ import annotations

from apmae.common.devices import native_precision, torch_device
from apmae.study.config import StudyConfig


def with_precisions(config: StudyConfig, recorded: StudyConfig | None) -> StudyConfig:
    """The config with every `auto` precision resolved: as recorded before, else what the device is fast in.

    Args:
        recorded: the resolved config in the study's directory, so that a study that goes on elsewhere
            keeps its precision; None for a new study.

    Raises:
        ApmaeError: there is no such device as `target.device`.
    """
    sections = {}
    for name, field in (("target", "dtype"), ("training", "precision"), ("encoding", "precision")):
        section = getattr(config, name)
        if getattr(section, field) != "auto":
            continue
        known = "auto" if recorded is None else getattr(getattr(recorded, name), field)
        if known == "auto":
            known = native_precision(torch_device(config.target.device))
        sections[name] = section.model_copy(update={field: known})
    return config.model_copy(update=sections)
