"""What the programs under benchmarks/ compute beside times."""

from benchmarks.smollm2_grpo import EXAMPLES, in_words, is_right, prompt, split


def test_numbers_in_words():
    assert [in_words(n) for n in (10, 19, 20, 43, 99)] == ["ten", "nineteen", "twenty", "forty-three", "ninety-nine"]
    assert len({in_words(n) for n in range(100)}) == 100


def test_held_out_sums_are_neither_trained_on_nor_shown():
    trained, held_out = split(150)
    assert (len(trained), len(held_out)) == (90 * 91 // 2 - len(EXAMPLES) - 150, 150)
    sums = {frozenset(pair) for pair in trained} | {frozenset(pair) for pair in EXAMPLES}
    assert not sums & {frozenset(pair) for pair in held_out}
    assert all(10 <= n <= 99 for pair in trained + held_out for n in pair)
    assert sum(a > b for a, b in trained) > len(trained) / 3  # both orders occur
    assert prompt(43, 20).endswith("\n\nQ: What is forty-three plus twenty?\nA:") and "43" not in prompt(43, 20)


def test_only_a_whole_line_that_ends_in_the_sum_is_right():
    right = [" 86 + 67 = 153\n", " 153\n", " 86+67=153\n", " 80 + 73 = 153\n"]
    wrong = [
        " 86 + 67 = 153",
        " 86 + 67 = 1153\n",
        " 86 + 67 = 153.\n",
        " 86 + 67 = 15\n",
        " 153 = 86 + 67\n",
        "",
        "\n",
    ]
    assert all(is_right(86, 67, text) for text in right)
    assert not any(is_right(86, 67, text) for text in wrong)
