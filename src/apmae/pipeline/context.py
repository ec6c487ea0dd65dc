"""What a stage is given: its study, its key, progress, and the corpus and target model, loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from apmae.common.progress import Progress
from apmae.corpus import Corpus, open_corpus
from apmae.study import Study
from apmae.study.config import StudyConfig
from apmae.target_model import Target
from apmae.target_model.weights import Weights, find_weights


class Inputs:
    """The corpus and the target model of a study; each is opened when a stage first asks for it."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config

    @cached_property
    def corpus(self) -> Corpus:
        """The source files.

        Raises:
            ApmaeError: they are not there.
        """
        return open_corpus(self._config.corpus, self._config.seed)

    @cached_property
    def target(self) -> Target:
        """The target model."""
        return Target.from_config(self._config.target)

    @property
    def weights(self) -> Weights:
        """The target's weights, as far as they are on this machine now.

        Raises:
            ApmaeError: there is no such model.
        """
        return find_weights(self._config.target.model)


@dataclass(frozen=True)
class Context:
    """What the `run` of every stage is given.

    Attributes:
        study: where the stage reads earlier artifacts and writes its own.
        key: owner of the stage's work directory; unfinished work of another key is dropped.
        progress: shows progress.
        inputs: corpus and target model, shared by the stages of a run.
    """

    study: Study
    key: str
    progress: Progress
    inputs: Inputs

    @property
    def corpus(self) -> Corpus:
        """The source files."""
        return self.inputs.corpus

    @property
    def target(self) -> Target:
        """The target model."""
        return self.inputs.target
