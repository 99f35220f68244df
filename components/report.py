"""The kfp component of the step `report`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def report(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    embeddings: dsl.Input[dsl.Artifact],
    index: dsl.Input[dsl.Artifact],
    converted_model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    benchmark: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Writes one HTML page about a whole run. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("report", locals())
