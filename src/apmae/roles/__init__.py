"""Roles: what a head looks at, scored against uniform attention over the same candidates.

1. Windows of code are drawn, and sequences of random tokens that are repeated once.
2. Each role says of every query which keys it is about, and among which candidates (`relations`).
3. One pass per window gives, for every head and role, the attention that the queries pay to these keys, and
   what they would pay if their attention to the candidates were uniform (`scores`).
"""
