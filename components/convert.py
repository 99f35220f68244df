"""The kfp component of the step `convert`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def convert(
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    inputs: list,
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
    in_service: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Turns interaction logs into training, validation and test records. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("convert", locals())
