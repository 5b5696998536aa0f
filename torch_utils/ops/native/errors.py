"""The reason why native kernels are not in use."""


class NativeError(RuntimeError):
    """A library is missing, a kernel does not compile or load, or its results are wrong; the text says which."""
