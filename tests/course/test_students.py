"""Students learn until their FLOPs are spent: quarters, learning rates, and going on."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.course import students
from jaxreason.course.students import Method, learn_all, make_optimizer

STUDENT = SimpleNamespace(params={"w": jnp.zeros(())})
RATES = []


def method(cost: float, fails_at: int | None = None) -> Method:
    """Every step adds 1 to the weight and costs the same."""

    def draw(params, step):
        if step == fails_at:
            raise RuntimeError("the machine goes down")
        return None, cost

    def update(state, batch):
        RATES.append(float(state.opt_state.hyperparams["learning_rate"]))
        return state._replace(params={"w": state.params["w"] + 1}, step=state.step + 1), {}

    return Method(lambda seed: draw, update, 1.0)


def weights(learned):
    return [float(params["w"]) for params in learned.quarters]


def test_a_student_is_kept_at_every_quarter_of_its_budget(tmp_path):
    RATES.clear()
    learned = learn_all(STUDENT, {"a": method(1e9)}, [0], make_optimizer(), 40e9, tmp_path)
    assert weights(learned["a", 0]) == [10, 20, 30, 40]
    np.testing.assert_array_equal(learned["a", 0].spent / 1e9, [10, 20, 30, 40])
    # up within the first twentieth, two steps, then down towards a tenth
    np.testing.assert_allclose(RATES[:3] + RATES[-1:], [0.1, 0.6, 0.955, 1 - 0.9 * 39 / 40])


def test_dear_steps_end_a_quarter_late_and_methods_spend_alike(tmp_path):
    given = {"dear": method(7e9), "cheap": method(1e9)}
    learned = learn_all(STUDENT, given, [0, 1], make_optimizer(), 40e9, tmp_path)
    np.testing.assert_array_equal(learned["dear", 1].spent / 1e9, [14, 21, 35, 42])
    assert set(learned) == {("dear", 0), ("dear", 1), ("cheap", 0), ("cheap", 1)}


def test_it_goes_on_from_the_last_quarter(tmp_path):
    broken = {"a": method(1e9, fails_at=25)}
    with pytest.raises(RuntimeError, match="goes down"):
        learn_all(STUDENT, broken, [0], make_optimizer(), 40e9, tmp_path)
    RATES.clear()
    learned = learn_all(STUDENT, {"a": method(1e9)}, [0], make_optimizer(), 40e9, tmp_path)
    assert weights(learned["a", 0]) == [10, 20, 30, 40] and len(RATES) == 20


def test_ctrl_c_saves_every_student(tmp_path, monkeypatch):
    class Stopped:
        def __enter__(self):
            return [2]

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(students.loop, "stopping", Stopped)
    given = {"a": method(1e9), "b": method(1e9)}
    with pytest.raises(KeyboardInterrupt, match="run the same command again to go on"):
        learn_all(STUDENT, given, [0], make_optimizer(), 40e9, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a-0.npz", "b-0.npz"}
