"""Images that occur twice: what an image looks like in a few numbers, how alike two are, and where copies leak to."""
