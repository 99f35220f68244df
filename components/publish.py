"""The kfp component of the step `publish`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def publish(
    gate: dsl.Input[dsl.Artifact],
    data_check: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Artifact],
    converted_model: dsl.Input[dsl.Model],
    publication: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    service: str,
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Puts a candidate that passed in service, and keeps one that did not. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("publish", locals())
