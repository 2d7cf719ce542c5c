"""The kit on a GPU: what a model of it says (estimate), and what one shows (measure)."""
