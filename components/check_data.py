"""The kfp component of the step `check-data`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def check_data(
    dataset: dsl.Input[dsl.Dataset],
    data_check: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
    in_service: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Says whether the new window is like the windows before it, and fails if it is not. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("check-data", locals())
