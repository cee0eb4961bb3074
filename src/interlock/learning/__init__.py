"""Learning is a fold over the ledger: events, trust in who scores, and the learner that publishes snapshots."""
