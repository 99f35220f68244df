"""The kfp components of a conversion that is spread over several machines: plan, one task per shard, merge."""

from typing import List, NamedTuple  # noqa: UP035 (kfp reads List)

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def plan_conversion(
    plan: dsl.Output[dsl.Dataset],
    inputs: list,
    config: dict,
    input_digest: str,
    code_digest: str,
) -> NamedTuple("Outputs", [("shards", list), ("digest", str)]):  # type: ignore[valid-type]
    """Reads and partitions interaction logs. Returns the numbers of the shards to write, and a digest of the plan."""
    from components.conversion_tasks import run_plan

    return run_plan(inputs=inputs, plan=plan.path, config=config)


@dsl.component(base_image=image(), install_kfp_package=False)
def convert_shard(
    plan: dsl.Input[dsl.Dataset], part: dsl.Output[dsl.Dataset], shard: int, config: dict, input_digest: str, code_digest: str
) -> None:
    """Writes one shard of training records and the held-out samples of its users."""
    from components.conversion_tasks import run_shard

    run_shard(plan=plan.path, part=part.path, shard=shard, config=config)


@dsl.component(base_image=image(), install_kfp_package=False)
def merge_conversion(
    plan: dsl.Input[dsl.Dataset],
    parts: dsl.Input[List[dsl.Dataset]],  # noqa: UP006 (kfp reads List)
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    config: dict,
    input_digest: str,
    code_digest: str,
) -> str:
    """Puts the shards together to a dataset. Returns the digest of its manifest."""
    from components.conversion_tasks import run_merge

    return run_merge(plan=plan.path, parts=[part.path for part in parts], dataset=dataset.path, config=config, metrics=metrics)
