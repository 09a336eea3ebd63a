"""The scores of some rollouts → their difficulty, and all values of `difficulty_metrics`."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, IntArray
from curriculum.bucketers import difficulty
from curriculum.errors import InternalError
from curriculum.metrics import METRICS, Metric, MetricParameters, Scores


class MetricChoice(Struct, frozen=True):
    """How difficulty_metrics is filled: the manifest's metric (None: its value is null) with its
    parameters, and the pass threshold of the success rate and of the filter. With `carried` the
    only score of a rollout is a number that it carries, and all but the value is null."""

    metric: Metric | None
    parameters: MetricParameters
    pass_threshold: float
    carried: bool = False

    def measure(self, scores: Scores) -> Measures:
        """The values of difficulty_metrics of each rollout."""
        own = MetricParameters(pass_threshold=self.pass_threshold)
        value = np.full(len(scores.counts), np.nan)
        if self.metric is not None:
            value = self.metric.values(scores, self.parameters)
        numbers = {
            "value": value,
            "mean_score": METRICS["mean_reward"].values(scores, own),
            "max_score": scores.highest,
            "min_score": scores.lowest,
            "score_variance": METRICS["variance"].values(scores, own),
            "success_rate": METRICS["success_rate"].values(scores, own),
        }
        responses = scores.counts
        if self.carried:
            nothing = np.full(len(responses), np.nan)
            numbers = {name: value if name == "value" else nothing for name in numbers}
            responses = np.zeros_like(responses)
        return Measures(self.metric.name if self.metric else None, numbers, responses)

    def difficulty(self, scores: Scores) -> FloatArray:
        """The difficulty of each rollout; NaN, which sorts last, where the metric is undefined."""
        if self.metric is None:
            raise InternalError("there is no metric to order rows by")
        return difficulty(self.metric.values(scores, self.parameters), self.metric.higher_is_easier)


class Measures(Struct, frozen=True):
    """The values of difficulty_metrics, one entry per rollout.

    `numbers` holds them by field name, NaN where undefined.
    """

    metric: str | None
    numbers: dict[str, FloatArray]
    num_responses: IntArray

    def some(self, rollouts: slice) -> Measures:
        """Those of some of the rollouts."""
        numbers = {name: values[rollouts] for name, values in self.numbers.items()}
        return Measures(self.metric, numbers, self.num_responses[rollouts])
