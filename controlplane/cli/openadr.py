def openadr() -> None:
    """x"""
