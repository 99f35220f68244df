"""The kfp component of the step `gate`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def gate(
    converted_model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    in_service: dsl.Input[dsl.Artifact],
    gate: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Compares the candidate with the model in service on the same users. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("gate", locals())
