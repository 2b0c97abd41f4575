"""Storage: tiers, policy, agent, manifest and archive encoding of sealed segments."""
