"""The DAG of a conversion spread over several machines: plan, a task per shard, merge.

Parameters: `inputs` (paths of the logs that all machines see), `input_digest` and `code_digest` (they only keep caches honest),
`convert_config` (options of `nann convert`; its `shards` says how many tasks there are). The dataset
is byte for byte that of `nann convert`.

Compile it with `nann pipeline compile --dag conversion --output conversion.yaml`.
"""

from kfp import dsl

from components.convert_parts import convert_shard, merge_conversion, plan_conversion
from nann.digests import code_digest as digest_of_code
from pipelines.dag import default_config

PIPELINE_NAME = "nann-conversion"


# A pipeline of its own, because kfp's local runner loops over a pipeline's inputs, not over the outputs of a task beside the loop.
@dsl.pipeline(name="shards")
def write_shards(plan: dsl.Input[dsl.Dataset], shards: list, config: dict, input_digest: str, code_digest: str) -> dsl.Dataset:
    """Writes all shards, any number at a time, and merges them."""
    common = {"config": config, "input_digest": input_digest, "code_digest": code_digest}
    with dsl.ParallelFor(shards) as shard:
        written = convert_shard(plan=plan, shard=shard, **common)
    merged = merge_conversion(plan=plan, parts=dsl.Collected(written.outputs["part"]), **common)
    return merged.outputs["dataset"]


@dsl.pipeline(name=PIPELINE_NAME, description="Interaction logs in, a dataset out; one task per shard.")
def conversion(
    inputs: list,
    input_digest: str = "",
    code_digest: str = digest_of_code(),
    convert_config: dict = default_config("convert"),  # noqa: B008 (kfp reads the defaults, nobody changes them)
) -> dsl.Dataset:
    """Wires the tasks."""
    planned = plan_conversion(inputs=inputs, config=convert_config, input_digest=input_digest, code_digest=code_digest)
    done = write_shards(
        plan=planned.outputs["plan"],
        shards=planned.outputs["shards"],
        config=convert_config,
        input_digest=planned.outputs["digest"],
        code_digest=code_digest,
    )
    return done.output
