"""Where published routing systems are run, composed and judged on the same real data."""
