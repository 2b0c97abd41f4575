"""Tiers: policy, pure plans, the agent that performs them, and the proof that nothing is lost."""
