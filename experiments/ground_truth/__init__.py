"""Rankings of heads against models whose important heads are known (docs/ground-truth.md).

1. `compile`: programs that tracr (Lindner et al. 2023, arXiv 2301.05062) compiles to transformers, in
   `models/`. Further heads with random weights stand beside the compiled ones.
2. `induction`: an attention-only model of two layers that is trained with one head in each, until they are an
   induction circuit; the other heads get random weights afterwards.
3. `sequences` and `study`: prompts of such a model, and the stages of a study on them.
4. `rankings`, `measures` and `measuring`: every ranking of heads that the project offers, how well it finds
   the known heads, and how much of the model the heads that it puts first keep.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from experiments.ground_truth.plain_transformer import PlainConfig, PlainForCausalLM

AutoConfig.register(PlainConfig.model_type, PlainConfig)
AutoModelForCausalLM.register(PlainConfig, PlainForCausalLM)
