"""The provider role: messages become model calls, and the responses of the model become replies."""
