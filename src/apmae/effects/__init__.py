"""Effects: what a head does, measured by taking it away.

1. Attribution estimates the effect of zero ablation for every head from gradients (`attribution`).
2. Some heads, or all where the target has few, are ablated one by one: those of the largest and of the
   smallest attribution, and some at random, so that the agreement of both can be estimated for all heads
   (`ablation`).
3. Effects on the log probability of the true token and on correctness are averaged over prompts, balanced and
   at the base rate, with intervals over groups (`summary`).
"""
