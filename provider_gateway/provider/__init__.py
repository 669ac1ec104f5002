"""The provider role: messages become model calls, and their answers replies."""
