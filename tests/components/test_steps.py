import inspect

import pytest

from components.steps import CONFIGS, STEP_BY_NAME, STEPS, load_object


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_reads_are_written_by_earlier_steps(step) -> None:
    earlier = {other.writes for other in STEPS[: STEPS.index(step)]}
    assert set(step.reads) <= earlier


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_the_step_function_takes_what_the_table_says(step) -> None:
    parameters = inspect.signature(step.load_function()).parameters
    expected = {*step.reads, step.writes, "overwrite"}
    expected |= {"config"} if step.config else set()
    expected |= {"inputs"} if step.name == "convert" else set()
    expected |= {"timings"} if step.name == "report" else set()
    assert set(parameters) == expected
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())


def test_no_config_field_hides_a_path_option() -> None:
    for name, reference in CONFIGS.items():
        step = STEP_BY_NAME.get(name)
        taken = {"input", "output", "config", "overwrite", "verbose", "quiet", "output_root", "item_ids", "json"}
        taken |= {*step.reads, step.writes} if step else set()
        assert not taken & set(load_object(reference).model_fields), name
