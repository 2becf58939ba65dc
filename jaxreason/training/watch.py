"""Looks at the metrics of training and says why nothing is learned."""

import warnings


class NothingToLearn(RuntimeError):
    """Training goes on without a signal; the message says why and what to change."""


class Watch:
    """Warns once of each symptom, and stops training that has no signal.

    Give it to ``loop.fit(check=...)``, which calls it with the metrics of every step it logs, those
    of ``grpo_batch.make_batch`` and of the loss.

    Args:
      patience: stop after so many logged steps in a row without a signal.
    """

    def __init__(self, patience: int = 20):
        self.patience = patience
        self.silent = 0
        self.warned: set[str] = set()

    def __call__(self, metrics: dict[str, float]) -> None:
        """Looks at one logged step.

        Raises:
          NothingToLearn: in ``patience`` logged steps in a row no reward differed from the others
            of its group.
        """
        cause = self._cause(metrics)
        self.silent = self.silent + 1 if metrics["zero_variance"] >= 1 else 0
        if self.silent >= self.patience:
            raise NothingToLearn(
                f"{self.silent} logged steps in a row had no group with different rewards: {cause}"
            )
        symptoms = {"nothing to learn from": cause} if self.silent else {}
        if metrics.get("clip_fraction", 0.0) > 0.3:
            symptoms["clipped"] = (
                "over 30% of the tokens are clipped: lower the learning rate, or take fewer "
                "updates of a rollout"
            )
        if metrics["truncated"] > 0.5 and not self.silent:
            symptoms["truncated"] = (
                "over half of the chains are cut off: raise max_new_tokens, or shape overlong "
                "rewards"
            )
        for name in symptoms.keys() - self.warned:
            self.warned.add(name)
            warnings.warn(symptoms[name], RuntimeWarning, stacklevel=2)

    @staticmethod
    def _cause(metrics: dict[str, float]) -> str:
        if metrics["truncated"] >= 1:
            return "every chain is cut off before its answer; raise max_new_tokens"
        if metrics["reward"] <= 0:
            return "no chain is right; take easier problems, more chains of each, or a better start"
        if metrics["entropy"] < 1e-3:
            return (
                "all chains of a problem are the same; the policy has no entropy left: raise "
                "kl_coef or clip_high"
            )
        return (
            "all chains of every problem are worth the same; take harder problems or more chains "
            "of each"
        )
