import inspect

import pytest

from components.steps import CONFIGS, RETRAINING_STEPS, STEP_BY_NAME, STEP_ORDER, STEPS_OF, load_object


@pytest.mark.parametrize("pipeline", STEPS_OF)
def test_reads_are_written_by_earlier_steps(pipeline) -> None:
    earlier: set[str] = set()
    for step in STEPS_OF[pipeline]:
        assert set(step.reads) <= earlier
        earlier.add(step.writes)


@pytest.mark.parametrize("pipeline", STEPS_OF)
def test_steps_of_every_pipeline_are_in_the_common_order(pipeline) -> None:
    places = [STEP_ORDER.index(step.name) for step in STEPS_OF[pipeline]]
    assert places == sorted(places)


@pytest.mark.parametrize("step", RETRAINING_STEPS, ids=lambda step: step.name)
def test_the_step_function_takes_what_the_table_says(step) -> None:
    parameters = inspect.signature(step.load_function()).parameters
    expected = {*step.reads, step.writes, "overwrite"}
    expected |= {"config"} if step.config else set()
    expected |= {"inputs"} if step.name == "convert" else set()
    expected |= {"timings"} if step.name == "report" else set()
    expected |= {"warm_start"} if step.name == "train" else set()
    expected |= {"service"} if step.name in ("in-service", "publish") else set()
    assert set(parameters) == expected
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())


def test_no_config_field_hides_a_path_option() -> None:
    for name, reference in CONFIGS.items():
        step = STEP_BY_NAME.get(name)
        taken = {"input", "output", "config", "overwrite", "verbose", "quiet", "output_root", "item_ids", "json"}
        taken |= {*step.reads, step.writes} if step else set()
        assert not taken & set(load_object(reference).model_fields), name
