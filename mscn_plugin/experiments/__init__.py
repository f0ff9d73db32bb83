"""The paper's experiments as names: Figure 1 step by step, and Tables 5 to 10."""
