"""The kfp component of the step `train`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def train(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
    in_service: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Trains the scorer on a dataset. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("train", locals())
