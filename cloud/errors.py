"""What all parts of the cloud raise when they are asked for what cannot be."""


class CloudError(Exception):
    """A request that cannot be met; the text says in one line what is wrong, and what would be right."""
