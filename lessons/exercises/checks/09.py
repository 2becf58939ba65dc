"""Checks of lesson 09."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close

LOGITS = np.log(  # [T, V] of a text of four tokens
    [[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8], [0.98, 0.01, 0.01]]
)


def check_completion_loss(answers):
    tokens = np.array([0, 1, 2, 0])
    for prompt_length, probabilities in ((1, [0.2, 0.25, 0.1]), (2, [0.25, 0.1]), (3, [0.1])):
        expected = -np.log(probabilities).mean()
        found = answers.completion_loss(LOGITS.copy(), tokens.copy(), prompt_length)
        expect_close(found, expected, f"tokens [0, 1, 2, 0], a prompt of {prompt_length}")
    shifted = answers.completion_loss(LOGITS + 5.0, tokens.copy(), 2)
    expect_close(shifted, -np.log([0.25, 0.1]).mean(), "the same probabilities, logits larger by 5")


def check_kd_loss(answers):
    student, teacher = LOGITS[:3], LOGITS[[1, 0, 0]]
    targets, weights = np.array([0, 1, 2]), np.array([0.0, 1.0, 1.0])

    def found(temperature, alpha):
        given = (student.copy(), teacher.copy(), targets.copy(), weights.copy())
        return answers.kd_loss(*given, temperature, alpha)

    nll = -np.log([0.5, 0.8]).mean()
    expect_close(found(1.0, 0.0), nll, "alpha 0: fine-tuning alone")
    expect_close(found(3.0, 0.0), nll, "alpha 0, T = 3: log p is at temperature 1")
    p = np.array([0.7, 0.2, 0.1])
    kl = np.mean([(p * np.log(p / q)).sum() for q in ([0.25, 0.5, 0.25], [0.1, 0.1, 0.8])])
    expect_close(found(1.0, 1.0), kl, "alpha 1, T = 1: the KL alone")
    soft = np.sqrt([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8]])  # T = 2
    p, *students = soft / soft.sum(-1, keepdims=True)
    kl = np.mean([(p * np.log(p / q)).sum() for q in students])
    expect_close(found(2.0, 1.0), 4 * kl, "alpha 1, T = 2")
    expect_close(found(2.0, 0.9), 0.9 * 4 * kl + 0.1 * nll, "alpha 0.9, T = 2")


def check_keep_traces(answers):
    texts = [["a", "b", "a", "c", "d"], ["x", "x", "y", "z", "z"], ["p", "q", "q", "r", "s"]]
    said = [["1", "2", "1", "1", "1"], ["3", "3", None, "4", "4"], [None, "5", "5", "5", "6"]]
    given = (texts, said, ["1", "7", "5"])
    for most, expected in (
        (2, [["a", "c"], [], ["q", "r"]]),
        (5, [["a", "c", "d"], [], ["q", "r"]]),
        (1, [["a"], [], ["q"]]),
    ):
        found = answers.keep_traces(*given, most)
        expect(found == expected, f"{texts} that say {said}, at most {most} each: got {found}")


def check_preferred(answers):
    expect(answers.PREFERRED is not None, "no prediction yet")
    teacher, a, b = np.array([[0.50, 0.49, 0.01], [1 / 3] * 3, [0.98, 0.01, 0.01]])

    def kl(p, q):
        return (p * np.log(p / q)).sum()

    forward = "A" if kl(teacher, a) < kl(teacher, b) else "B"
    backward = "A" if kl(a, teacher) < kl(b, teacher) else "B"
    said = tuple(answers.PREFERRED)
    expect(said[0] == forward, f"forward KL does not prefer {said[0]}: who misses a likely token?")
    expect(said[1] == backward, f"reverse KL does not prefer {said[1]}: who says an unlikely one?")


def check_batches(answers):
    expect(answers.BATCHES is not None, "no batches yet")
    first, second = answers.BATCHES
    sums = [sum(map(sum, batch)) for batch in (first, second)]
    of_batch = [total / len(batch) for total, batch in zip(sums, (first, second), strict=True)]
    lengths = [sum(map(len, batch)) for batch in (first, second)]
    of_tokens = [total / length for total, length in zip(sums, lengths, strict=True)]
    expect(of_batch[0] > of_batch[1], f"batchmean says {of_batch}: the first is not worse")
    expect(of_tokens[0] < of_tokens[1], f"the mean over tokens says {of_tokens}")
