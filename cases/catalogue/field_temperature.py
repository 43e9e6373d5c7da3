"""Public reports about temperatures and other scales of logits."""

from collections.abc import Iterator

from .._case import Case
from ._field import field_case

QUICK = "trl_3640"


def cases() -> Iterator[Case]:
    yield field_case(
        "field_temperature/vllm_2937",
        "A temperature of 1e-4: logits of 10 become 100,000, which float16 cannot hold, and the loss is their "
        "difference.",
        [[10.5, 10.0, 2.0], [-3.0, 8.0, 7.5]],
        [1, 1],
        logit_scale=1e4,
        source="vllm-project/vllm#2937",
        reported="With a temperature of 1e-4, vLLM v0.3.0 has NaN or infinite probabilities, since logits are divided "
        "by the temperature before the softmax.",
    )
    yield field_case(
        "field_temperature/vllm_890",
        "A largest logit of 11 over a temperature of 1e-4, whose quotient is infinite in float16 alone.",
        [[2.875, 2.955078125, 11.0625], [-2.447265625, -1.5439453125, -1.9462890625]],
        [2, 1],
        logit_scale=1e4,
        source="vllm-project/vllm#890",
        reported="With a temperature near 0 the divided logits contain an infinity, and their softmax is NaN. No "
        "version given.",
    )
    yield field_case(
        "field_temperature/trl_3640",
        "A temperature of 0.01: the other classes' probabilities underflow, and a target among them has a large loss.",
        [[3.0, 1.5, 0.25], [-0.5, 2.0, 1.0]],
        [1, 0],
        logit_scale=100.0,
        source="huggingface/trl#3640",
        reported="With temperatures near 0 the probabilities become 0 in TRL 0.19.0, which the maintainers call the "
        "desired behaviour.",
    )
    yield field_case(
        "field_temperature/prime_rl_697",
        "A temperature of 0.5: it divides the logits, and log-probabilities divided by it do not sum to 1.",
        [[2.0, 0.5, -1.0], [1.0, 1.5, 3.0]],
        [0, 1],
        logit_scale=2.0,
        source="PrimeIntellect-ai/prime-rl#697",
        reported="Log-probabilities of chosen tokens were divided by the temperature, which cannot be undone after "
        "the softmax; the fix needs v0.10.0 of the inference server.",
    )
    yield field_case(
        "field_temperature/kimi_audio_161",
        "A temperature of 0.8 before the softmax: after it, the sum is raised to a power and normalizes nothing.",
        [[1.0, 2.5, -0.5], [0.0, -2.0, 4.0]],
        [1, 0],
        logit_scale=1.25,
        source="MoonshotAI/Kimi-Audio#161",
        reported="A sampler divided log-probabilities by the temperature instead of logits. No version given.",
    )
    yield field_case(
        "field_temperature/codontransformer_20",
        "A temperature of 0.8 that is applied once: applied twice, it is 0.64.",
        [[5.0, 3.0, 1.0], [-2.0, 4.0, 2.0]],
        [1, 2],
        logit_scale=1.25,
        source="Adibvafa/CodonTransformer#20",
        reported="Logits were divided by the temperature several times over. No version given.",
    )
    yield field_case(
        "field_temperature/sentence_transformers_2774",
        "Cosines over a temperature of 0.01: the unshifted exponential of 100 overflows float32.",
        [[1.0, -1.0, 0.5], [0.75, 0.96875, -0.25]],
        [1, 0],
        logit_scale=100.0,
        source="huggingface/sentence-transformers#2774",
        reported="A contrastive loss takes exp of a similarity divided by a temperature of 0.01, and overflows unless "
        "a constant is subtracted. No version given.",
    )
    yield field_case(
        "field_temperature/asi_2886",
        "Quotients by 0.7 from 2^31 on: a fused multiply-add leaves half an ulp, 128, for the maximum's own term.",
        [[1.6e9, 1e9, -3e9], [-2e9, 0.0, 2.4e9]],
        [0, 2],
        logit_scale=1 / 0.7,
        in_every_mode=True,
        source="SlopDotCash/asi#2886",
        reported="Compiled softmax of quotients by 0.7 is NaN for finite logits from 2^31 on, and right in eager "
        "mode. The part that was read names no version.",
    )
    yield field_case(
        "field_temperature/asi_2888",
        "Logits of both signs near float32's largest number with a temperature of 5e37: centering them overflows.",
        [[3e38, -3e38, 1e38], [-2e38, 2e38, 0.0]],
        [1, 2],
        logit_scale=2e-38,
        source="SlopDotCash/asi#2888",
        reported="The fix centers logits before it divides them by a temperature, and halves both first, since "
        "opposite extremes would overflow. The part that was read names no version.",
    )
