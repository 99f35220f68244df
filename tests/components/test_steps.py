import inspect

import pytest

from nann.steps.table import CONFIGS, STEP_BY_NAME, STEP_ORDER, STEPS, STEPS_OF, load_object


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


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_the_step_function_takes_what_the_table_says(step) -> None:
    parameters = inspect.signature(step.load_function()).parameters
    expected = {*step.reads, step.writes, "overwrite"}
    expected |= {"config"} if step.config else set()
    expected |= {option.argument for option in step.options}
    expected |= {"steps"} if step.runs else set()
    assert set(parameters) == expected
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())


def test_no_config_field_hides_a_path_option() -> None:
    for name, reference in CONFIGS.items():
        step = STEP_BY_NAME.get(name)
        taken = {"input", "output", "config", "overwrite", "verbose", "quiet", "output_root", "item_ids", "json"}
        taken |= {*step.reads, step.writes} if step else set()
        assert not taken & set(load_object(reference).model_fields), name
