"""Exercises of lesson 09, distillation.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 09`. Logits are scores
before the softmax: row t is about the token behind token t.
"""

import numpy as np


def completion_loss(logits: np.ndarray, tokens: np.ndarray, prompt_length: int) -> float:
    """1. The mean of -log p(token) over the tokens of the completion, in nats.

    Args:
      logits: `[T, V]` of the model that reads the text.
      tokens: `[T]` ids: the prompt, the completion, and the token that ends it.
      prompt_length: tokens of the prompt; nothing is learned from them.
    """
    raise NotImplementedError


def kd_loss(
    student: np.ndarray,
    teacher: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    temperature: float,
    alpha: float,
) -> float:
    """2. alpha T^2 KL(teacher || student) - (1 - alpha) log p(target), a mean by the weights.

    Both distributions of the KL are softmax(logits / T). The log p is at temperature 1.

    Args:
      student, teacher: `[T, V]` logits before each target.
      targets: `[T]` ids.
      weights: `[T]`, 0 where nothing is learned.
      temperature, alpha: T, and the share of the KL.
    """
    raise NotImplementedError


def keep_traces(
    texts: list[list[str]], answers: list[list[str | None]], golds: list[str], most: int
) -> list[list[str]]:
    """3. Filter before training: of each problem at most so many right texts, and none twice.

    Args:
      texts: N chains for each problem.
      answers: what each chain answers, None where it never ended.
      golds: the right answer of each problem.
      most: of a problem. The first ones are kept.

    Returns:
      The texts of each problem that are kept, in their order.
    """
    raise NotImplementedError


# 4. Predict. The teacher's next-token probabilities are [0.50, 0.49, 0.01]. Student A says
# [1/3, 1/3, 1/3], student B [0.98, 0.01, 0.01]. Which student has the smaller forward KL,
# KL(teacher || student), and which the smaller reverse KL? (Two letters, such as ("A", "A").)
PREFERRED = None

# 5. Break it. "batchmean" divides the sum of all token losses by the number of texts. Find two
# batches of which batchmean calls the first one worse, while the mean over tokens calls the second
# one worse. (A pair of batches. A batch is a list of texts, a text a list of token losses.)
BATCHES = None
