"""The kfp component of the step `in-service`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def in_service(
    in_service: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    service: str,
    config: dict,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Takes the version in service into the run. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("in-service", locals())
